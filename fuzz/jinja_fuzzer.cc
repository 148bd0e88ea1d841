// Bytes as the source of a chat template, rendered over fixed messages: any source must end in a text or an error,
// within its budgets.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "text/chat_template.h"

namespace {

lem::ChatTemplateInputs FixedInputs() {
  lem::ChatTemplateInputs inputs;
  inputs.messages.push_back({"system", "Be <|kind|>.", {}});
  inputs.messages.push_back({"user", "na\u00efve {{ x }}\n", {}});
  inputs.messages.push_back({"assistant", "",
                             lem::ParseJson(R"({"tool_calls": [{"id": "a", "function": {"name": "f",
      "arguments": {"x": [1, 2.5, null, true, "s"]}}}], "n": 18446744073709551615})")
                                 ->as_object()});
  inputs.tools = lem::ParseJson(R"([{"type": "function", "function": {"name": "f", "parameters": {}}}])")->as_array();
  inputs.unix_time_s = 1;
  return inputs;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const lem::ChatTemplateInputs inputs = FixedInputs();
  const auto chat_template = lem::ChatTemplate::Create({reinterpret_cast<const char*>(data), size});
  if (!chat_template.ok()) return 0;
  const auto text = (*chat_template)->Render(inputs);
  const auto spans = (*chat_template)->RenderSpans(inputs);
  // One of the two may run out of time.
  if (!text.ok() || !spans.ok()) return 0;
  std::string joined;
  for (const lem::RenderedSpan& span : *spans) joined += span.text;
  LEM_CHECK(joined == *text) << "spans and text differ";
  return 0;
}
