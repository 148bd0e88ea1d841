// What the fuzzers of grammars have in common. Header only; not thread-safe.
#pragma once

#include <string>
#include <vector>

#include "base/check.h"
#include "grammar/grammar.h"

namespace lem {

// Compiles with small limits and takes a few steps over a small vocabulary; what is in a mask is accepted, and nothing
// else.
inline void FuzzGrammar(const GrammarPiece& piece) {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> list{"",         "{\"",  "\":", "\", \"", "\"}", "true",
                                  "\xC3\xA9", "\xC3", "abc", "\\u00",  "  ",  "\n  "};
    for (int byte = 0x20; byte < 0x7F; ++byte) list.emplace_back(1, static_cast<char>(byte));
    return list;
  }();
  static const TokenId ends[] = {0};
  static const auto vocabulary = GrammarVocabulary::FromTexts(texts, ends);
  const auto grammar =
      Grammar::Compile(piece, {.max_source_bytes = 1 << 16, .max_nodes = 50'000, .max_time_ms = 1'000});
  if (!grammar.ok()) return;
  const auto matcher = GrammarMatcher::Create(*grammar, vocabulary);
  std::vector<uint32_t> mask(vocabulary->mask_words());
  for (size_t step = 0; step < 6 && !matcher->Finished(); ++step) {
    if (!matcher->FillMask(mask).ok()) break;
    TokenId chosen = -1;
    for (TokenId token = 0; token < static_cast<TokenId>(texts.size()); ++token) {
      const bool allowed = (mask[static_cast<size_t>(token) / 32] >> (token % 32) & 1) != 0;
      const bool accepted = matcher->Accept(token);
      if (!matcher->status().ok()) return;
      LEM_CHECK(allowed == accepted) << "token " << token << " at step " << step;
      if (!accepted) continue;
      matcher->Rollback(1);
      if (chosen < 0 || static_cast<size_t>(token) % 7 == step) chosen = token;
    }
    LEM_CHECK(chosen >= 0 && matcher->Accept(chosen)) << "an empty mask";
  }
}

}  // namespace lem
