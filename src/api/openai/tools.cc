#include "api/openai/tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace lem::openai {
namespace {

constexpr std::string_view kToolForm = R"({"type": "function", "function": {"name", "description", "parameters"}})";
constexpr std::string_view kChoices =
    R"("none", "auto", "required", {"type": "function", "function": {"name": ...}} or {"type": "allowed_tools", ...})";

// {"type": "function", "function": {"name": ...}}, of a tool or a choice; nullptr after an error.
const JsonObject* FunctionOf(const JsonValue& value, const std::string& path, FirstError& error) {
  const auto* object = value.if_object();
  const auto* function = object == nullptr ? nullptr : object->if_contains("function");
  if (object != nullptr) {
    JsonFields fields(*object, path, error);
    const auto type = fields.String("type");
    if (type && *type != "function") {
      fields.FailValue("type", *fields.Find("type"), "\"function\"");
      return nullptr;
    }
  }
  if (function == nullptr || !function->is_object()) {
    error.Set({InvalidArgument("{} has no function; allowed: {}", path, kToolForm), path, "invalid_type"});
    return nullptr;
  }
  return &function->get_object();
}

std::string NameOf(const JsonObject& function, const std::string& path, FirstError& error) {
  JsonFields fields(function, path + ".function", error);
  const auto name = fields.String("name");
  if (!name) {
    fields.FailMissing("name", kToolNameForm);
    return {};
  }
  if (!IsToolName(*name)) fields.FailValue("name", *fields.Find("name"), kToolNameForm);
  return std::string(*name);
}

std::vector<std::string> ReadToolList(const JsonArray& tools, FirstError& error) {
  std::vector<std::string> names;
  for (size_t i = 0; i < tools.size() && error.ok(); ++i) {
    const std::string path = fmt::format("tools[{}]", i);
    const JsonObject* function = FunctionOf(tools[i], path, error);
    if (function == nullptr) break;
    std::string name = NameOf(*function, path, error);
    JsonFields fields(*function, path + ".function", error);
    (void)fields.Object("parameters");
    (void)fields.Boolean("strict");
    if (std::ranges::find(names, name) != names.end()) {
      fields.Fail("name", "invalid_value", fmt::format("two tools are named '{}'; each needs a name of its own", name));
    }
    names.push_back(std::move(name));
  }
  return names;
}

class ChoiceReader {
 public:
  ChoiceReader(ParameterFields& fields, const std::vector<std::string>& names, ToolChoice& out)
      : fields_(fields), names_(names), out_(out) {}

  // False: no tools.
  bool Read() {
    const JsonValue* choice = fields_.Find("tool_choice");
    if (choice == nullptr) return true;
    if (const auto* text = choice->if_string()) {
      if (*text == "none") return false;
      if (*text == "required") {
        Require("required");
      } else if (*text != "auto") {
        fields_.FailValue("tool_choice", *choice, kChoices);
      }
      return true;
    }
    const auto* object = choice->if_object();
    if (object == nullptr) {
      fields_.FailType("tool_choice", *choice, kChoices);
      return true;
    }
    JsonFields nested(*object, "tool_choice", fields_.error());
    if (nested.String("type") == "allowed_tools") {
      ReadAllowed(nested);
    } else if (const JsonObject* function = FunctionOf(*choice, "tool_choice", fields_.error())) {
      Require("a function");
      Allow(NameOf(*function, "tool_choice", fields_.error()), "tool_choice");
    }
    return true;
  }

 private:
  void Require(std::string_view what) {
    out_.kind = ToolChoice::Kind::kRequired;
    if (names_.empty()) {
      fields_.Fail("tool_choice", "invalid_value",
                   fmt::format("tool_choice is {} and there are no tools; give tools or leave it out", what));
    }
  }

  void Allow(std::string name, const std::string& path) {
    if (fields_.error().ok() && std::ranges::find(names_, name) == names_.end()) {
      fields_.Fail(path, "invalid_value", fmt::format("{} names '{}', which is none of the tools", path, name));
    }
    out_.names.push_back(std::move(name));
  }

  void ReadAllowed(JsonFields& choice) {
    // OpenAI's form has an object inside; some clients send its members directly.
    const JsonValue* inner = choice.Find("allowed_tools");
    const JsonObject* object = inner != nullptr ? inner->if_object() : nullptr;
    if (object == nullptr) {
      choice.FailMissing("allowed_tools", R"({"mode", "tools"})");
      return;
    }
    JsonFields fields(*object, "tool_choice.allowed_tools", fields_.error());
    const auto mode = fields.String("mode");
    if (mode == "required") {
      Require("required");
    } else if (mode && *mode != "auto") {
      fields.FailValue("mode", *fields.Find("mode"), "\"auto\" or \"required\"");
    }
    const JsonArray* tools = fields.Array("tools");
    if (tools == nullptr || tools->empty()) {
      fields.FailMissing("tools", "an array of at least one tool");
      return;
    }
    for (size_t i = 0; i < tools->size(); ++i) {
      const std::string path = fmt::format("tool_choice.allowed_tools.tools[{}]", i);
      const JsonObject* function = FunctionOf((*tools)[i], path, fields_.error());
      if (function == nullptr) return;
      Allow(NameOf(*function, path, fields_.error()), path);
    }
  }

  ParameterFields& fields_;
  const std::vector<std::string>& names_;
  ToolChoice& out_;
};

}  // namespace

void ReadTools(ParameterFields& fields, ChatRequest& request) {
  request.parallel_tool_calls = fields.Boolean("parallel_tool_calls").value_or(true);
  const JsonArray* tools = fields.Array("tools");
  if (tools != nullptr && tools->size() > kMaxTools) {
    fields.Fail("tools", "array_above_max_length",
                fmt::format("tools has {} tools; allowed: at most {}", tools->size(), kMaxTools));
    return;
  }
  const std::vector<std::string> names =
      tools == nullptr ? std::vector<std::string>() : ReadToolList(*tools, fields.error());
  const bool use_tools = ChoiceReader(fields, names, request.tool_choice).Read();
  if (tools != nullptr && use_tools) request.tools = *tools;
}

}  // namespace lem::openai
