// Values as text, byte for byte as Python writes them: str(), repr() and json.dumps().
#pragma once

#include <string>

#include "text/jinja/text.h"
#include "text/jinja/value.h"

namespace lem::jinja {

// str(value), appended. A value nested too deep marks the heap's budget.
void Print(TextBuilder& out, const Value& value);
// repr(value), appended.
void Repr(TextBuilder& out, const Value& value);
// str(value); a string is returned as it is.
const Str& ToStr(Heap& heap, const Value& value);
// repr of a float: "1.0", "1e+20", "inf".
std::string FloatRepr(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // one item a line
  std::string indent;   // of one level, when pretty
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// json.dumps(value), appended. Errors: InvalidArgument for a value that JSON cannot hold.
Status PrintJson(TextBuilder& out, const Value& value, const JsonStyle& style);

}  // namespace lem::jinja
