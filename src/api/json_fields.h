// Reads the fields of a client's JSON object into typed values, with one declared range per parameter.
//
// The first thing wrong is kept and ends nothing: a parser reads on in a straight line and asks for the error once, at
// its end. A field that is absent or null has no value. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "api/request_error.h"
#include "base/json.h"

namespace lem {

struct IntegerRange {
  int64_t min = 0, max = 0;  // both allowed
};
struct NumberRange {
  double min = 0, max = 0;  // both allowed
};
struct AnyBoolean {};

// A parameter of a dialect and what it may be.
struct Parameter {
  std::string_view name;
  std::variant<IntegerRange, NumberRange, AnyBoolean> allowed;
};

// The first error of a request. Later ones are dropped.
class FirstError {
 public:
  bool ok() const { return !error_.has_value(); }
  void Set(RequestError error) {
    if (ok()) error_ = std::move(error);
  }
  // REQUIRES: !ok().
  RequestError Take() { return std::move(*error_); }

 private:
  std::optional<RequestError> error_;
};

// "a string", "an array": for messages.
std::string_view JsonKindName(const JsonValue& value);
// The value as JSON, cut short, for messages.
std::string JsonExcerpt(const JsonValue& value);

class JsonFields {
 public:
  // `path` is what stands before a field's name in messages ("messages[0]"; empty for the request itself). All
  // references must outlive this object.
  JsonFields(const JsonObject& object, std::string path, FirstError& error)
      : object_(object), path_(std::move(path)), error_(error) {}

  // Null if the field is absent or null.
  const JsonValue* Find(std::string_view name) const;

  // nullopt (or null) also if the value is wrong; then there is an error. A double with a whole value is an integer.
  std::optional<int64_t> Integer(std::string_view name, IntegerRange range);
  std::optional<double> Number(std::string_view name, NumberRange range);
  std::optional<bool> Boolean(std::string_view name);
  std::optional<std::string_view> String(std::string_view name);
  const JsonArray* Array(std::string_view name);
  const JsonObject* Object(std::string_view name);

  // "messages[0].role" of "role".
  std::string PathOf(std::string_view name) const;
  void Fail(std::string_view name, std::string_view code, std::string_view message);
  void FailMissing(std::string_view name, std::string_view allowed);
  // "NAME is VALUE; allowed: ALLOWED".
  void FailType(std::string_view name, const JsonValue& value, std::string_view allowed);
  void FailValue(std::string_view name, const JsonValue& value, std::string_view allowed);

  FirstError& error() const { return error_; }

 private:
  const JsonObject& object_;
  std::string path_;
  FirstError& error_;
};

// A number that is an element of an array or object; errors name it `path`.
std::optional<int64_t> ReadInteger(const JsonValue& value, IntegerRange range, const std::string& path,
                                   FirstError& error);
std::optional<double> ReadNumber(const JsonValue& value, NumberRange range, const std::string& path, FirstError& error);

}  // namespace lem
