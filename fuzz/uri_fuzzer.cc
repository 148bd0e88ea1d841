// The pieces of a request that are parsed one by one: targets, paths, queries, authorities, origins, media types.
#include "base/check.h"
#include "http/router.h"
#include "http/uri.h"

namespace lem::http {

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  static const Router router = [] {
    Router made;
    for (const char* pattern : {"/a", "/{x}/b", "/{y*}"}) made.Add("GET", pattern, SyncHandler());
    return made;
  }();
  if (const auto parts = SplitTarget(input); parts.ok()) {
    const std::string path = NormalizePath(parts->path);
    LEM_CHECK(NormalizePath(path) == path && !path.empty());
    router.Match("GET", path);
    router.CloseRoutes(path);
  }
  if (const auto query = ParseQuery(input); query.ok()) LEM_CHECK(query->size() <= size);
  if (const auto authority = ParseAuthority(input)) {
    LEM_CHECK(!authority->host.empty() && authority->host.size() <= size);
  }
  if (const auto origin = ParseOrigin(input)) LEM_CHECK(IsToken(origin->scheme));
  if (const auto decoded = PercentDecode(input)) LEM_CHECK(decoded->size() <= size);
  LEM_CHECK(!IsJsonMediaType(input) || MediaType(input).starts_with("application/"));
  return 0;
}

}  // namespace lem::http
