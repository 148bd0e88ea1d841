#include "api/openai/output_form.h"

#include <fmt/format.h>

#include <utility>

namespace lem::openai {
namespace {

using Kind = OutputForm::Kind;

// Of a choice list; more would be a grammar.
constexpr size_t kMaxChoices = 4096;
constexpr size_t kMaxChoiceBytes = 4096;

std::string Write(const JsonValue& value) {
  JsonWriter writer;
  writer.Value(value);
  return writer.Take();
}

class FormReader {
 public:
  explicit FormReader(ParameterFields& fields) : fields_(fields) {}

  OutputForm Read() {
    ReadResponseFormat();
    for (const std::string_view name : {"json_schema", "guided_json"}) ReadSchema(fields_, name);
    for (const std::string_view name : {"regex", "guided_regex"}) ReadText(fields_, name, Kind::kRegex);
    for (const std::string_view name : {"grammar", "guided_grammar"}) ReadGrammar(fields_, name);
    for (const std::string_view name : {"choice", "guided_choice"}) ReadChoices(fields_, name);
    if (const JsonObject* object = fields_.Object("structured_outputs")) {
      JsonFields nested(*object, "structured_outputs", fields_.error());
      ReadSchema(nested, "json");
      ReadText(nested, "regex", Kind::kRegex);
      ReadGrammar(nested, "grammar");
      ReadChoices(nested, "choice");
      if (nested.Boolean("json_object").value_or(false)) Set({Kind::kJsonObject, "", {}, nested.PathOf("json_object")});
      if (nested.Find("structural_tag") != nullptr) {
        nested.Fail("structural_tag", "unsupported_parameter",
                    "structured_outputs.structural_tag is not supported; use grammar");
      }
    }
    return std::move(form_);
  }

 private:
  void Set(OutputForm form) {
    if (form_.kind != Kind::kText) {
      fields_.Fail(
          form.param, "invalid_value",
          fmt::format("{} and {} both ask for a form of the answer; give one of them", form_.param, form.param));
      return;
    }
    form_ = std::move(form);
  }

  void ReadResponseFormat() {
    const JsonObject* format = fields_.Object("response_format");
    if (format == nullptr) return;
    constexpr std::string_view kTypes = "\"text\", \"json_object\" or \"json_schema\"";
    JsonFields nested(*format, "response_format", fields_.error());
    const auto type = nested.String("type");
    if (!type) {
      nested.FailMissing("type", kTypes);
    } else if (*type == "json_object") {
      // llama.cpp's and others' way to give a schema with it.
      if (nested.Find("schema") != nullptr) return ReadSchema(nested, "schema");
      Set({Kind::kJsonObject, "", {}, "response_format"});
    } else if (*type == "json_schema") {
      const JsonObject* outer = nested.Object("json_schema");
      if (outer == nullptr) return nested.FailMissing("json_schema", "an object with name and schema");
      JsonFields inner(*outer, nested.PathOf("json_schema"), fields_.error());
      (void)inner.Boolean("strict");  // a schema always holds here
      if (inner.Find("schema") == nullptr) return inner.FailMissing("schema", "a JSON Schema");
      ReadSchema(inner, "schema");
    } else if (*type != "text") {
      nested.FailValue("type", *nested.Find("type"), kTypes);
    }
  }

  // An object, true or false, or the text of one.
  void ReadSchema(JsonFields& fields, std::string_view name) {
    const JsonValue* value = fields.Find(name);
    if (value == nullptr) return;
    if (const auto* text = value->if_string()) {
      return Set({Kind::kJsonSchema, {text->data(), text->size()}, {}, fields.PathOf(name)});
    }
    if (!value->is_object() && !value->is_bool()) return fields.FailType(name, *value, "a JSON Schema");
    Set({Kind::kJsonSchema, Write(*value), {}, fields.PathOf(name)});
  }

  void ReadText(JsonFields& fields, std::string_view name, Kind kind) {
    const auto text = fields.String(name);
    if (text && !text->empty()) Set({kind, std::string(*text), {}, fields.PathOf(name)});
  }

  void ReadGrammar(JsonFields& fields, std::string_view name) {
    const auto text = fields.String(name);
    if (!text || text->empty()) return;
    // Rules of GBNF are defined by "::=", those of Lark by ":".
    const bool is_gbnf = text->find("::=") != std::string_view::npos;
    Set({is_gbnf ? Kind::kGbnf : Kind::kLark, std::string(*text), {}, fields.PathOf(name)});
  }

  void ReadChoices(JsonFields& fields, std::string_view name) {
    const JsonArray* list = fields.Array(name);
    if (list == nullptr) return;
    OutputForm form{Kind::kChoice, "", {}, fields.PathOf(name)};
    if (list->empty() || list->size() > kMaxChoices) {
      fields.Fail(name, list->empty() ? "empty_array" : "array_above_max_length",
                  fmt::format("{} has {} choices; allowed: 1 to {}", form.param, list->size(), kMaxChoices));
      return;
    }
    for (size_t i = 0; i < list->size(); ++i) {
      const auto* text = (*list)[i].if_string();
      if (text == nullptr || text->empty() || text->size() > kMaxChoiceBytes) {
        const std::string path = fmt::format("{}[{}]", name, i);
        return fields.FailType(path, (*list)[i], fmt::format("a string of 1 to {} bytes", kMaxChoiceBytes));
      }
      form.choices.emplace_back(text->data(), text->size());
    }
    Set(std::move(form));
  }

  ParameterFields& fields_;
  OutputForm form_;
};

}  // namespace

OutputForm ReadOutputForm(ParameterFields& fields) { return FormReader(fields).Read(); }

}  // namespace lem::openai
