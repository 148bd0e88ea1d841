// One formatted value of Python's format mini-language, shared by `%` and str.format.
#pragma once

#include <cstdint>
#include <string>

#include "text/jinja/text.h"

namespace lem::jinja {

struct FormatSpec {
  std::string fill = " ";  // one character
  char align = 0;          // '<', '>', '^', '=' or 0: the default of the type
  char sign = '-';         // '-', '+' or ' '
  bool alternate = false;  // '#'
  bool zero = false;       // '0' before the width: numbers are filled after their sign
  int64_t width = 0;
  char grouping = 0;       // ',' or '_' between thousands
  int64_t precision = -1;  // -1: none given
  char type = 0;           // 0: the default of the type
};

// Widths and precisions above these end as ResourceExhausted; no template needs a hundredth of them.
inline constexpr int64_t kMaxFormatWidth = 100'000;
inline constexpr int64_t kMaxFormatPrecision = 400;

Status AppendFormatted(TextBuilder& out, const Value& value, const FormatSpec& spec);

}  // namespace lem::jinja
