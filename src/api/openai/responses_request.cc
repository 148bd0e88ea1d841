#include "api/openai/responses_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "api/openai/output_form.h"
#include "api/openai/parameters.h"
#include "api/openai/response_items.h"
#include "api/openai/shared_options.h"
#include "api/tool_name.h"

namespace lem::openai {
namespace {

// As OpenAI has them.
constexpr size_t kMaxMetadataPairs = 16;
constexpr size_t kMaxMetadataKeyBytes = 64;
constexpr size_t kMaxMetadataValueBytes = size_t{4} * 512;  // characters of up to four bytes

constexpr std::string_view kToolForm = R"({"type": "function", "name", "description", "parameters"})";
constexpr std::string_view kChoices =
    R"("none", "auto", "required", {"type": "function", "name": ...} or {"type": "allowed_tools", ...})";
constexpr std::array<std::string_view, 7> kIncludable = {
    "reasoning.encrypted_content",    "message.output_text.logprobs",  "message.input_image.image_url",
    "web_search_call.action.sources", "code_interpreter_call.outputs", "computer_call_output.output.image_url",
    "file_search_call.results"};
constexpr std::string_view kLogprobs = kIncludable[1];

std::string ToJson(const JsonValue& value) {
  JsonWriter writer;
  writer.Value(value);
  return writer.Take();
}

class RequestReader {
 public:
  RequestReader(const JsonObject& body, std::string_view id) : fields_(Endpoint::kResponses, body, error_), id_(id) {}

  ParseResult<ResponsesRequest> Read(const EarlierItems& earlier) {
    RequestOptions& options = request_.chat.options = ReadCommonOptions(fields_);
    if (const auto limit = fields_.Integer("max_output_tokens")) options.max_tokens = static_cast<int32_t>(*limit);
    (void)fields_.Integer("max_tool_calls");
    ReadInclude();
    ReadTools();
    ReadToolChoice();
    request_.chat.parallel_tool_calls = fields_.Boolean("parallel_tool_calls").value_or(true);
    ReadText();
    ReadReasoning();
    ReadMetadata();
    ReadKeeping();
    if (!error_.ok()) return tl::unexpected(error_.Take());
    auto failed = ReadInput(earlier);
    if (failed) return tl::unexpected(*std::move(failed));
    if (!error_.ok()) return tl::unexpected(error_.Take());
    WriteEcho();
    return std::move(request_);
  }

 private:
  void ReadInclude() {
    bool wanted = false;
    if (const JsonArray* include = fields_.Array("include")) {
      for (size_t i = 0; i < include->size(); ++i) {
        const auto* text = (*include)[i].if_string();
        const auto known =
            text == nullptr ? kIncludable.end() : std::ranges::find(kIncludable, std::string_view(*text));
        const std::string path = fmt::format("include[{}]", i);
        if (known == kIncludable.end()) {
          return fields_.FailValue(path, (*include)[i], fmt::format("\"{}\"", fmt::join(kIncludable, "\", \"")));
        }
        wanted = wanted || *known == kLogprobs;
      }
    }
    const auto top = fields_.Integer("top_logprobs");
    if (wanted || top.value_or(0) > 0) request_.chat.options.num_logprobs = static_cast<int32_t>(top.value_or(0));
  }

  void ReadTools() {
    const JsonArray* tools = fields_.Array("tools");
    if (tools == nullptr) return;
    if (tools->size() > kMaxTools) {
      return fields_.Fail("tools", "array_above_max_length",
                          fmt::format("tools has {} tools; allowed: at most {}", tools->size(), kMaxTools));
    }
    for (size_t i = 0; i < tools->size() && error_.ok(); ++i) ReadTool((*tools)[i], fmt::format("tools[{}]", i));
  }

  void ReadTool(const JsonValue& tool, const std::string& path) {
    const auto* object = tool.if_object();
    if (object == nullptr) return fields_.FailType(path, tool, kToolForm);
    JsonFields fields(*object, path, error_);
    const auto type = fields.String("type");
    if (!type) return fields.FailMissing("type", "\"function\"");
    if (*type != "function") {
      return fields.Fail("type", "unsupported_value",
                         fmt::format("{} is {}; this server runs no tools itself, and calls of functions have JSON "
                                     "arguments: allowed is \"function\"",
                                     fields.PathOf("type"), JsonExcerpt(*fields.Find("type"))));
    }
    const auto name = fields.String("name");
    if (!name) return fields.FailMissing("name", kToolNameForm);
    if (!IsToolName(*name)) return fields.FailValue("name", *fields.Find("name"), kToolNameForm);
    if (std::ranges::find(tool_names_, *name) != tool_names_.end()) {
      return fields.Fail("name", "invalid_value",
                         fmt::format("two tools are named '{}'; each needs a name of its own", *name));
    }
    tool_names_.emplace_back(*name);
    // As templates know tools: in the form of chat completions.
    JsonObject function{{"name", *name}};
    JsonObject echo{{"type", "function"}, {"name", *name}, {"description", nullptr}, {"parameters", nullptr}};
    if (const auto description = fields.String("description")) {
      function["description"] = echo["description"] = *description;
    }
    if (const JsonObject* parameters = fields.Object("parameters")) {
      function["parameters"] = echo["parameters"] = *parameters;
    }
    const bool strict = fields.Boolean("strict").value_or(false);
    if (strict) function["strict"] = true;
    echo["strict"] = strict;
    request_.chat.tools.push_back(JsonObject{{"type", "function"}, {"function", std::move(function)}});
    tools_echo_.push_back(std::move(echo));
  }

  void ReadToolChoice() {
    const JsonValue* choice = fields_.Find("tool_choice");
    if (choice == nullptr) return;
    if (const auto* text = choice->if_string()) {
      if (*text == "none") {
        request_.chat.tools.clear();
      } else if (*text == "required") {
        Require("required");
      } else if (*text != "auto") {
        fields_.FailValue("tool_choice", *choice, kChoices);
      }
      return;
    }
    const auto* object = choice->if_object();
    if (object == nullptr) return fields_.FailType("tool_choice", *choice, kChoices);
    JsonFields nested(*object, "tool_choice", error_);
    const auto type = nested.String("type");
    if (type == "function") {
      Require("a function");
      Allow(*object, "tool_choice");
    } else if (type == "allowed_tools") {
      ReadAllowedTools(nested);
    } else if (const JsonValue* found = nested.Find("type")) {
      nested.FailValue("type", *found, "\"function\" or \"allowed_tools\"");
    } else {
      nested.FailMissing("type", "\"function\" or \"allowed_tools\"");
    }
  }

  void ReadAllowedTools(JsonFields& choice) {
    const auto mode = choice.String("mode");
    if (mode == "required") {
      Require("required");
    } else if (mode && *mode != "auto") {
      return choice.FailValue("mode", *choice.Find("mode"), "\"auto\" or \"required\"");
    }
    const JsonArray* tools = choice.Array("tools");
    if (tools == nullptr || tools->empty()) return choice.FailMissing("tools", "an array of at least one tool");
    for (size_t i = 0; i < tools->size(); ++i) {
      const std::string path = fmt::format("tool_choice.tools[{}]", i);
      const auto* tool = (*tools)[i].if_object();
      if (tool == nullptr) return fields_.FailType(path, (*tools)[i], R"({"type": "function", "name": ...})");
      Allow(*tool, path);
    }
  }

  void Require(std::string_view what) {
    request_.chat.tool_choice.kind = ToolChoice::Kind::kRequired;
    if (tool_names_.empty()) {
      fields_.Fail("tool_choice", "invalid_value",
                   fmt::format("tool_choice is {} and there are no tools; give tools or leave it out", what));
    }
  }

  void Allow(const JsonObject& tool, const std::string& path) {
    JsonFields fields(tool, path, error_);
    const auto name = fields.String("name");
    if (!name) return fields.FailMissing("name", "the name of one of the tools");
    if (std::ranges::find(tool_names_, *name) == tool_names_.end()) {
      return fields.FailValue("name", *fields.Find("name"), "the name of one of the tools");
    }
    request_.chat.tool_choice.names.emplace_back(*name);
  }

  void ReadText() {
    OutputForm& form = request_.chat.options.form;
    form = ReadOutputForm(fields_);
    const JsonObject* text = fields_.Object("text");
    if (text == nullptr) return;
    JsonFields nested(*text, "text", error_);
    const auto verbosity = nested.String("verbosity");
    if (verbosity && *verbosity != "medium") {
      nested.Fail("verbosity", "unsupported_value",
                  fmt::format("text.verbosity is {}; allowed: \"medium\": ask for the length in the input",
                              JsonExcerpt(*nested.Find("verbosity"))));
    }
    if (const JsonObject* format = nested.Object("format")) ReadFormat(*format, form);
  }

  void ReadFormat(const JsonObject& format, OutputForm& form) {
    constexpr std::string_view kTypes = "\"text\", \"json_object\" or \"json_schema\"";
    JsonFields fields(format, "text.format", error_);
    format_echo_ = format;
    const auto type = fields.String("type");
    if (!type) return fields.FailMissing("type", kTypes);
    if (*type == "text") return;
    if (form.kind != OutputForm::Kind::kText) {
      return fields.Fail(
          "", "invalid_value",
          fmt::format("text.format and {} both ask for a form of the answer; give one of them", form.param));
    }
    if (*type == "json_object") {
      form = {OutputForm::Kind::kJsonObject, "", {}, "text.format"};
    } else if (*type == "json_schema") {
      (void)fields.Boolean("strict");  // a schema always holds here
      const JsonObject* schema = fields.Object("schema");
      if (schema == nullptr) return fields.FailMissing("schema", "a JSON Schema");
      form = {OutputForm::Kind::kJsonSchema, ToJson(*schema), {}, "text.format.schema"};
    } else {
      fields.FailValue("type", *fields.Find("type"), kTypes);
    }
  }

  void ReadReasoning() {
    const JsonObject* reasoning = fields_.Object("reasoning");
    if (reasoning == nullptr) return;
    JsonFields nested(*reasoning, "reasoning", error_);
    effort_ = ReadEffort(nested, "effort", request_.chat.template_arguments);
    for (const std::string_view name : {"summary", "generate_summary"}) {
      const auto summary = nested.String(name);
      if (!summary) continue;
      if (*summary != "auto" && *summary != "concise" && *summary != "detailed") {
        return nested.FailValue(name, *nested.Find(name), "\"auto\", \"concise\" or \"detailed\"");
      }
      summary_ = *summary;
      request_.reasoning = ReasoningForm::kSummary;
    }
  }

  void ReadMetadata() {
    const JsonObject* metadata = fields_.Object("metadata");
    if (metadata == nullptr) return;
    metadata_ = *metadata;
    if (metadata->size() > kMaxMetadataPairs) {
      return fields_.Fail(
          "metadata", "object_above_max_length",
          fmt::format("metadata has {} pairs; allowed: at most {}", metadata->size(), kMaxMetadataPairs));
    }
    for (const auto& [key, value] : *metadata) {
      const auto* text = value.if_string();
      if (key.size() <= kMaxMetadataKeyBytes && text != nullptr && text->size() <= kMaxMetadataValueBytes) continue;
      return fields_.Fail("metadata", "invalid_value",
                          fmt::format("metadata has {}: {}; allowed: keys of at most {} characters, and strings of at "
                                      "most 512 as values",
                                      JsonExcerpt(JsonValue(key)), JsonExcerpt(value), kMaxMetadataKeyBytes));
    }
  }

  void ReadKeeping() {
    request_.store = fields_.Boolean("store").value_or(true);
    request_.background = fields_.Boolean("background").value_or(false);
    if (const auto previous = fields_.String("previous_response_id")) request_.previous_response_id = *previous;
    if (request_.background && !request_.store) {
      fields_.Fail("background", "invalid_value",
                   "background is true and store is false; what runs in the background is read from the store");
    }
    if (request_.background && request_.chat.options.stream) {
      fields_.Fail("stream", "unsupported_value",
                   "stream and background are both true; leave one out: GET /v1/responses/{id} tells how far it is");
    }
  }

  std::optional<RequestError> ReadInput(const EarlierItems& earlier) {
    ItemReader reader(error_);
    reader.AddInstructions(fields_.String("instructions").value_or(""));
    if (!request_.previous_response_id.empty()) {
      const auto items = earlier(request_.previous_response_id);
      if (!items) return items.error();
      for (size_t i = 0; i < items->size(); ++i) {
        reader.Add((*items)[i], fmt::format("items[{}] of {}", i, request_.previous_response_id), "");
      }
    }
    constexpr std::string_view kAllowed = "a string, or an array of at least one item";
    const JsonValue* input = fields_.Find("input");
    JsonArray normal;
    const auto add = [&](const JsonValue& item, const std::string& path) {
      normal.push_back(reader.Add(item, path, fmt::format("item_{}_{}", id_, normal.size())));
    };
    if (input == nullptr) {
      fields_.FailMissing("input", kAllowed);
    } else if (input->is_string()) {
      add(JsonObject{{"role", "user"}, {"content", *input}}, "input");
    } else if (const auto* items = input->if_array(); items != nullptr && !items->empty()) {
      for (size_t i = 0; i < items->size() && error_.ok(); ++i) add((*items)[i], fmt::format("input[{}]", i));
    } else if (items != nullptr) {
      fields_.Fail("input", "empty_array", "input is empty; at least one item is needed");
    } else {
      fields_.FailType("input", *input, kAllowed);
    }
    request_.input = ToJson(normal);
    request_.chat.messages = reader.TakeMessages();
    if (error_.ok() && request_.chat.messages.empty()) {
      fields_.Fail("input", "invalid_value", "input has no message; at least one is needed");
    }
    return std::nullopt;
  }

  void WriteEcho() {
    const RequestOptions& options = request_.chat.options;
    JsonWriter writer;
    const auto text = [&](std::string_view name, std::string_view value) {
      writer.Key(name);
      value.empty() ? writer.Null() : writer.String(value);
    };
    const auto as_sent = [&](std::string_view name) {
      const JsonValue* value = fields_.Find(name);
      writer.Key(name);
      value == nullptr ? writer.Null() : writer.Value(*value);
    };
    writer.BeginObject();
    writer.Key("background").Bool(request_.background);
    as_sent("instructions");
    as_sent("max_output_tokens");
    as_sent("max_tool_calls");
    writer.Key("metadata").Value(metadata_);
    writer.Key("parallel_tool_calls").Bool(request_.chat.parallel_tool_calls);
    text("previous_response_id", request_.previous_response_id);
    for (const std::string_view name : {"prompt_cache_key", "safety_identifier", "user"}) {
      if (fields_.Find(name) != nullptr) as_sent(name);
    }
    writer.Key("reasoning").BeginObject();
    text("effort", effort_);
    text("summary", summary_);
    writer.EndObject();
    writer.Key("service_tier").String("default");
    writer.Key("store").Bool(request_.store);
    writer.Key("temperature").Float(options.sampling.temperature);
    writer.Key("text").BeginObject().Key("format");
    format_echo_.empty() ? writer.Raw(R"({"type":"text"})") : writer.Value(format_echo_);
    writer.Key("verbosity").String("medium").EndObject();
    writer.Key("tool_choice");
    const JsonValue* choice = fields_.Find("tool_choice");
    choice == nullptr ? writer.String("auto") : writer.Value(*choice);
    writer.Key("tools").Value(tools_echo_);
    writer.Key("top_logprobs").Int(std::max(options.num_logprobs, 0));
    writer.Key("top_p").Float(options.sampling.top_p);
    writer.Key("truncation").String("disabled");
    writer.EndObject();
    const std::string object = writer.Take();
    request_.echo = object.substr(1, object.size() - 2);
  }

  FirstError error_;
  ParameterFields fields_;
  const std::string_view id_;
  ResponsesRequest request_;
  std::vector<std::string> tool_names_;
  JsonArray tools_echo_;
  JsonObject metadata_, format_echo_;
  std::string effort_, summary_;
};

}  // namespace

ParseResult<ResponsesRequest> ParseResponsesRequest(const JsonValue& body, std::string_view id,
                                                    const EarlierItems& earlier) {
  if (!body.is_object()) {
    return tl::unexpected(
        RequestError{InvalidArgument("the body is {}; allowed: an object with model and input", JsonKindName(body)), "",
                     "invalid_type"});
  }
  return RequestReader(body.get_object(), id).Read(earlier);
}

}  // namespace lem::openai
