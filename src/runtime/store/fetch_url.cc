// Source: a file at a URL. http::Download keeps what it has in <folder>/url.part and goes on from there.
#include <cstdlib>
#include <stop_token>
#include <system_error>

#include "http/client.h"
#include "runtime/store/fetch.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

fs::path UrlPart(const fs::path& folder) { return folder / "url.part"; }

std::string EnvironmentOr(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value != nullptr && value[0] != '\0' ? value : fallback;
}

// The path of a file of the catalogue holds letters, digits, "._-+ /" only; of these a URL escapes the space and the
// plus sign, which some servers take for one.
std::string EscapeUrlPath(const std::string& path) {
  std::string out;
  for (const char c : path) {
    if (c == ' ') {
      out += "%20";
    } else if (c == '+') {
      out += "%2B";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

uint64_t UrlPartBytes(const fs::path& folder) {
  const Result<FileFacts> facts = FactsOf(UrlPart(folder));
  return facts.ok() ? facts->size_bytes : 0;
}

Status FetchUrl(const UrlSource& source, const std::string& bearer_token, const FetchContext& context) {
  PartialFile& partial = context.partial;
  const fs::path part = UrlPart(partial.folder());
  std::stop_source stop;
  http::FetchOptions options;
  options.max_bytes = partial.expected_bytes();
  options.stop = stop.get_token();
  if (!bearer_token.empty()) options.authorization = "Bearer " + bearer_token;
  options.on_progress = [&](const http::TransferProgress& progress) {
    if (context.cancel.cancelled()) stop.request_stop();
    context.on_bytes(progress.done_bytes);
  };
  LEM_ASSIGN_OR_RETURN(const http::DownloadedFile file, http::Download(source.url, part, options));
  const Status adopted = partial.Adopt(part, file.resumed_from > 0, context.cancel);
  std::error_code ignored;
  if (!adopted.ok()) fs::remove(part, ignored);
  return adopted;
}

Status FetchHuggingFace(const HuggingFaceSource& source, const FetchContext& context) {
  const std::string endpoint = EnvironmentOr("HF_ENDPOINT", "https://huggingface.co");
  const std::string url =
      fmt::format("{}/{}/resolve/{}/{}", endpoint, source.repo, source.revision, EscapeUrlPath(source.file));
  return FetchUrl({url}, EnvironmentOr("HF_TOKEN", ""), context);
}

}  // namespace lem
