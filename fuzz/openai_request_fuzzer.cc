// Bodies of OpenAI's dialect: whatever they are, the parsers return, and what they take is within its limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/openai/chat_request.h"
#include "api/openai/completion_request.h"
#include "api/openai/parameters.h"
#include "api/openai/responses_request.h"
#include "base/check.h"
#include "base/json.h"

namespace {

void CheckOptions(const lem::RequestOptions& options) {
  LEM_CHECK(options.num_choices >= 1 && options.num_choices <= 128);
  LEM_CHECK(options.sampling.temperature >= 0 && options.sampling.temperature <= 2);
  LEM_CHECK(options.stop.size() <= lem::openai::kMaxStopStrings);
  LEM_CHECK(options.num_logprobs >= -1 && options.num_logprobs <= 20);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto body = lem::ParseJson({reinterpret_cast<const char*>(data), size});
  if (!body.ok()) return 0;
  if (const auto chat = lem::openai::ParseChatRequest(*body)) {
    CheckOptions(chat->options);
    LEM_CHECK(!chat->messages.empty());
  }
  if (const auto completion = lem::openai::ParseCompletionRequest(*body)) {
    CheckOptions(completion->options);
    LEM_CHECK(!completion->prompts.empty());
  }
  const auto earlier = [](const std::string&) { return lem::JsonArray(); };
  if (const auto response = lem::openai::ParseResponsesRequest(*body, "r", earlier)) {
    CheckOptions(response->chat.options);
    LEM_CHECK(!response->chat.messages.empty());
    LEM_CHECK(lem::ParseJson("{" + response->echo + "}").ok() && lem::ParseJson(response->input).ok());
  }
  return 0;
}
