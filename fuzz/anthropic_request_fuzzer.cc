// Bodies of Anthropic's dialect, whatever they hold, give a request or an error that names a reason.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/anthropic/message_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto json = lem::ParseJson({reinterpret_cast<const char*>(bytes), size});
  if (!json.ok()) return 0;
  const auto request = lem::anthropic::ParseMessageRequest(*json);
  if (!request && request.error().status.message().empty()) std::abort();
  if (request && request->chat.options.max_tokens < 1) std::abort();
  (void)lem::anthropic::ParseCountTokensRequest(*json);
  return 0;
}
