// Any text as lem.toml and as models.toml: an error or a result, never a crash.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/config.h"
#include "runtime/store/catalogue.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  lem::Config config;
  (void)lem::ApplyConfigText(text, "lem.toml", config);
  (void)lem::Catalogue::Create(text, "models.toml");
  return 0;
}
