// JSON: the one reader (Boost.JSON behind limits) and the one writer of the program.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace lem {

// Parsed JSON; objects keep the order of their keys. Crosses a module line only as template context or tool schema.
using JsonValue = boost::json::value;
using JsonObject = boost::json::object;
using JsonArray = boost::json::array;

struct JsonLimits {
  size_t max_bytes = size_t{16} << 20;  // whole document
  size_t max_depth = 200;               // nested arrays and objects
};

// Parses one RFC 8259 document in valid UTF-8. Errors: InvalidArgument with the byte offset and the reason; a document
// over a limit names the limit. NaN, Infinity, comments and trailing text are errors.
Result<JsonValue> ParseJson(std::string_view text, const JsonLimits& limits = {});

// Appends JSON to a string: no intermediate tree, commas and escapes taken care of.
//   JsonWriter w; w.BeginObject(); w.Key("id"); w.String("x"); w.EndObject(); w.Take()
// Numbers are written the shortest way that reads back equal ("0.95", "1.0" as 1.0 only from Double). Invalid UTF-8 is
// written as U+FFFD. REQUIRES: calls nest properly.
class JsonWriter {
 public:
  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();
  JsonWriter& Key(std::string_view key);
  JsonWriter& String(std::string_view value);
  JsonWriter& Int(int64_t value);
  JsonWriter& UInt(uint64_t value);
  JsonWriter& Float(float value);    // as few digits as a float needs; else as Double
  JsonWriter& Double(double value);  // NaN and infinities, which JSON has not, are written as null
  JsonWriter& Bool(bool value);
  JsonWriter& Null();
  JsonWriter& Value(const JsonValue& value);
  // Text that already is JSON.
  JsonWriter& Raw(std::string_view json);

  const std::string& text() const { return out_; }
  std::string Take() { return std::move(out_); }
  void Clear();

 private:
  template <typename Number>
  JsonWriter& Decimal(Number value);
  void BeforeValue();
  std::string out_;
  bool need_comma_ = false;
};

// `text` as a JSON string literal with its quotes.
std::string JsonQuote(std::string_view text);

}  // namespace lem
