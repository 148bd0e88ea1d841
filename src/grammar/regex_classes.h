// Character classes of regular expressions. Pure functions, thread-safe.
#pragma once

#include <optional>
#include <string_view>

#include "grammar/code_points.h"

namespace lem {

CodePointSet DigitClass();       // \d
CodePointSet WordClass();        // \w: ASCII, as ECMA-262 has it
CodePointSet WhitespaceClass();  // \s
CodePointSet AnyButLineEnds();   // .
// General categories by short or long name: L, Lu, Letter, Uppercase_Letter. Nothing for a name that is none.
std::optional<CodePointSet> CategoryClass(std::string_view name);
// [:alpha:] and its like, in ASCII.
std::optional<CodePointSet> PosixClass(std::string_view name);
// With the upper and lower case of what is in it.
CodePointSet IgnoreCase(const CodePointSet& set);

}  // namespace lem
