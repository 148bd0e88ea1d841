#include "api/json_fields.h"

#include <fmt/format.h>

#include <cmath>

namespace lem {
namespace {

// Whole numbers beyond it are not exact as doubles.
constexpr double kMaxExactDouble = 9007199254740992.0;

constexpr size_t kMaxExcerptBytes = 60;

void FailWith(FirstError& error, const std::string& path, std::string_view code, const JsonValue& value,
              std::string_view allowed) {
  error.Set({InvalidArgument("{} is {}; allowed: {}", path, JsonExcerpt(value), allowed), path, std::string(code)});
}

std::string Describe(IntegerRange range) { return fmt::format("a whole number from {} to {}", range.min, range.max); }
std::string Describe(NumberRange range) { return fmt::format("a number from {} to {}", range.min, range.max); }

}  // namespace

std::string_view JsonKindName(const JsonValue& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      return "null";
    case boost::json::kind::bool_:
      return "a boolean";
    case boost::json::kind::int64:
    case boost::json::kind::uint64:
    case boost::json::kind::double_:
      return "a number";
    case boost::json::kind::string:
      return "a string";
    case boost::json::kind::array:
      return "an array";
    case boost::json::kind::object:
      return "an object";
  }
  return "unknown";
}

std::string JsonExcerpt(const JsonValue& value) {
  if (value.is_array() || value.is_object()) return std::string(JsonKindName(value));
  if (const auto* text = value.if_string()) {
    std::string_view view(text->data(), text->size());
    if (view.size() <= kMaxExcerptBytes) return JsonQuote(view);
    // A cut code point must not turn into a replacement character.
    size_t end = kMaxExcerptBytes;
    while (end > 0 && (static_cast<unsigned char>(view[end]) & 0xc0) == 0x80) --end;
    return fmt::format("{} and {} bytes more", JsonQuote(view.substr(0, end)), view.size() - end);
  }
  JsonWriter writer;
  writer.Value(value);
  return writer.Take();
}

std::optional<int64_t> ReadInteger(const JsonValue& value, IntegerRange range, const std::string& path,
                                   FirstError& error) {
  const std::string allowed = Describe(range);
  if (const auto* number = value.if_int64()) {
    if (*number >= range.min && *number <= range.max) return *number;
    const auto code = *number < range.min ? "integer_below_min_value" : "integer_above_max_value";
    FailWith(error, path, code, value, allowed);
  } else if (value.is_uint64()) {  // above every int64
    FailWith(error, path, "integer_above_max_value", value, allowed);
  } else if (const auto* real = value.if_double(); real != nullptr && std::trunc(*real) == *real) {
    const bool exact = std::abs(*real) <= kMaxExactDouble;
    if (exact && *real >= static_cast<double>(range.min) && *real <= static_cast<double>(range.max)) {
      return static_cast<int64_t>(*real);
    }
    FailWith(error, path, *real < 0 ? "integer_below_min_value" : "integer_above_max_value", value, allowed);
  } else {
    FailWith(error, path, "invalid_type", value, allowed);
  }
  return std::nullopt;
}

std::optional<double> ReadNumber(const JsonValue& value, NumberRange range, const std::string& path,
                                 FirstError& error) {
  double number = 0;
  if (const auto* integer = value.if_int64()) {
    number = static_cast<double>(*integer);
  } else if (const auto* unsigned_integer = value.if_uint64()) {
    number = static_cast<double>(*unsigned_integer);
  } else if (const auto* real = value.if_double()) {
    number = *real;
  } else {
    FailWith(error, path, "invalid_type", value, Describe(range));
    return std::nullopt;
  }
  if (number >= range.min && number <= range.max) return number;  // false for NaN
  FailWith(error, path, number < range.min ? "decimal_below_min_value" : "decimal_above_max_value", value,
           Describe(range));
  return std::nullopt;
}

const JsonValue* JsonFields::Find(std::string_view name) const {
  const JsonValue* value = object_.if_contains({name.data(), name.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<int64_t> JsonFields::Integer(std::string_view name, IntegerRange range) {
  const JsonValue* value = Find(name);
  return value == nullptr ? std::nullopt : ReadInteger(*value, range, PathOf(name), error_);
}

std::optional<double> JsonFields::Number(std::string_view name, NumberRange range) {
  const JsonValue* value = Find(name);
  return value == nullptr ? std::nullopt : ReadNumber(*value, range, PathOf(name), error_);
}

std::optional<bool> JsonFields::Boolean(std::string_view name) {
  const JsonValue* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_bool()) return value->get_bool();
  FailType(name, *value, "true or false");
  return std::nullopt;
}

std::optional<std::string_view> JsonFields::String(std::string_view name) {
  const JsonValue* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (const auto* text = value->if_string()) return std::string_view(text->data(), text->size());
  FailType(name, *value, "a string");
  return std::nullopt;
}

const JsonArray* JsonFields::Array(std::string_view name) {
  const JsonValue* value = Find(name);
  if (value == nullptr || value->is_array()) return value == nullptr ? nullptr : &value->get_array();
  FailType(name, *value, "an array");
  return nullptr;
}

const JsonObject* JsonFields::Object(std::string_view name) {
  const JsonValue* value = Find(name);
  if (value == nullptr || value->is_object()) return value == nullptr ? nullptr : &value->get_object();
  FailType(name, *value, "an object");
  return nullptr;
}

std::string JsonFields::PathOf(std::string_view name) const {
  if (path_.empty()) return std::string(name);
  return name.empty() ? path_ : fmt::format("{}.{}", path_, name);
}

void JsonFields::Fail(std::string_view name, std::string_view code, std::string_view message) {
  error_.Set({InvalidArgument("{}", message), PathOf(name), std::string(code)});
}
void JsonFields::FailMissing(std::string_view name, std::string_view allowed) {
  Fail(name, "missing_required_parameter", fmt::format("{} is missing; allowed: {}", PathOf(name), allowed));
}
void JsonFields::FailType(std::string_view name, const JsonValue& value, std::string_view allowed) {
  FailWith(error_, PathOf(name), "invalid_type", value, allowed);
}
void JsonFields::FailValue(std::string_view name, const JsonValue& value, std::string_view allowed) {
  FailWith(error_, PathOf(name), "invalid_value", value, allowed);
}

}  // namespace lem
