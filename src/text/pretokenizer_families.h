// The table behind PreTokenizer: which expressions each tokenizer.ggml.pre name stands for. The expressions are those
// of the models' own tokenizers in the form that llama.cpp gives them, because token ids must agree with it: letters
// are not told apart by case beyond ASCII, and each rule cuts the pieces that the rule before it left.
#pragma once

#include <span>
#include <string_view>

#include "text/pretokenizer.h"

namespace lem {

// Rules that are no expression.
// Groups of three numbers counted from the end of each run of \p{N}; what stands before the run stays with its first
// group.
inline constexpr std::string_view kGroupNumbersByThree = "<numbers by three>";
// Cuts a run of ASCII digits where a multiple of three digits is left.
inline constexpr std::string_view kCutDigitsByThree = "<digits by three>";

struct PreTokenizerFamily {
  std::span<const std::string_view> names;
  std::span<const std::string_view> rules;
  PreTokenizerTraits traits;
};

std::span<const PreTokenizerFamily> PreTokenizerFamilies();

}  // namespace lem
