// int() and float() of a string, as Python reads them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/status.h"

namespace lem::jinja {

// nullopt if the text is no integer of that base (2 to 36, or 0 for a prefix). Errors: InvalidArgument if it is one
// that does not fit 64 bits.
Result<std::optional<int64_t>> ParseInteger(std::string_view text, int base);
std::optional<double> ParseFloat(std::string_view text);

}  // namespace lem::jinja
