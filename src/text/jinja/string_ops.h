// What string filters and string methods share. Every result keeps the provenance of the text it was made from.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "text/jinja/text.h"

namespace lem::jinja {

enum class Side : uint8_t { kLeft, kRight, kBoth };

// Without white space, or without the characters in `chars`, at the ends.
Value Strip(Heap& heap, const Str& str, const Str* chars, Side side);
Value Upper(Heap& heap, const Str& str);
Value Lower(Heap& heap, const Str& str);
Value Capitalize(Heap& heap, const Str& str);
Value SwapCase(Heap& heap, const Str& str);
// str.title: words are runs of cased letters.
Value Title(Heap& heap, const Str& str);
// The filter `title`: words begin after white space and - ( { [ <.
Value TitleWords(Heap& heap, const Str& str);

// A count below 0 is no limit.
Value Replace(Heap& heap, const Str& str, const Str& old_text, const Str& new_text, int64_t count);
List* SplitSpace(Heap& heap, const Str& str, int64_t max_splits, Side from);
// REQUIRES: separator is not empty.
List* SplitOn(Heap& heap, const Str& str, std::string_view separator, int64_t max_splits, Side from);
List* SplitLines(Heap& heap, const Str& str, bool keep_ends);
// Fills up to `width` characters; kLeft: the text is at the left.
Value Pad(Heap& heap, const Str& str, int64_t width, const Str& fill, Side side);

// Byte offsets, in time linear in both texts whatever they hold.
std::optional<size_t> FindText(std::string_view text, std::string_view wanted, size_t begin = 0);
std::optional<size_t> FindLastText(std::string_view text, std::string_view wanted);
size_t CountText(std::string_view text, std::string_view wanted);

}  // namespace lem::jinja
