// SentencePiece unigram ("t5"): text is normalised, then spelled by the tokens whose scores have the greatest sum.
#include <algorithm>
#include <cfloat>

#include "text/byte_trie.h"
#include "text/charsmap.h"
#include "text/utf8.h"
#include "text/vocabulary_tokenizer.h"

namespace lem {
namespace {

class UnigramTokenizer final : public VocabularyTokenizer {
 public:
  UnigramTokenizer(Vocabulary vocabulary, Charsmap charsmap, const TokenizerSpec& spec)
      : VocabularyTokenizer(std::move(vocabulary), TokenSpelling::kEscaped, spec.add_space_prefix.value_or(false)),
        charsmap_(charsmap),
        merges_spaces_(spec.remove_extra_whitespaces.value_or(false)) {
    namespace attribute = token_attribute;
    const Vocabulary& vocab = this->vocabulary();
    std::vector<ByteTrie::Entry> tokens;
    std::vector<ByteTrie::Entry> user_defined;
    float min_score = FLT_MAX;
    for (TokenId id = 0; id < vocab.size(); ++id) {
      if (vocab.Is(id, attribute::kNormal)) min_score = std::min(min_score, vocab.score(id));
      // A control token that is also of one of these kinds stays out: text must never become one.
      if (vocab.Is(id, attribute::kControl)) continue;
      if (vocab.Is(id, attribute::kNormal | attribute::kUserDefined | attribute::kUnused)) {
        tokens.push_back({vocab.text(id), id});
      }
      if (vocab.Is(id, attribute::kUserDefined)) user_defined.push_back({vocab.text(id), id});
    }
    unknown_score_ = min_score - kUnknownPenalty;
    tokens_ = ByteTrie(std::move(tokens));
    user_defined_ = ByteTrie(std::move(user_defined));
  }

 private:
  static constexpr float kUnknownPenalty = 10.0F;

  // The best spelling of the text up to some position: its last token, where that begins, the sum of scores.
  struct Best {
    TokenId token = Vocabulary::kNone;
    size_t begin = 0;
    double score = -DBL_MAX;
  };

  void EncodeText(std::string_view text, bool /*begins_text*/, EncodeScratch& /*scratch*/,
                  std::vector<TokenId>& out) const override {
    const std::string normalized = Normalize(text);
    if (normalized.empty()) return;
    std::vector<Best> best(normalized.size() + 1, Best{vocabulary().unknown()});
    best[0].score = 0;
    for (size_t begin = 0; begin < normalized.size();) {
      begin += Extend(normalized, begin, best);
    }
    const size_t first_token = out.size();
    bool previous_unknown = false;
    for (size_t end = normalized.size();;) {
      const Best& last = best[end];
      const bool is_unknown = last.token == vocabulary().unknown();
      if (last.token != Vocabulary::kNone && !(is_unknown && previous_unknown)) out.push_back(last.token);
      previous_unknown = is_unknown;
      // A damaged charsmap may leave a position that nothing reaches.
      if (last.begin == 0 || last.begin >= end) break;
      end = last.begin;
    }
    std::reverse(out.begin() + static_cast<ptrdiff_t>(first_token), out.end());
  }

  // Tries every token that begins at `begin`; returns the size of the code point there.
  size_t Extend(std::string_view text, size_t begin, std::vector<Best>& best) const {
    const double score_before = best[begin].score;
    const auto offer = [&](size_t end, TokenId token, double token_score) {
      if (score_before + token_score > best[end].score) best[end] = {token, begin, score_before + token_score};
    };
    const size_t codepoint_size = std::min(ClaimedUtf8Length(text[begin]), text.size() - begin);
    bool codepoint_is_token = false;
    ByteTrie::Node node = tokens_.Root();
    for (size_t at = begin; at < text.size() && tokens_.Step(node, text[at]); ++at) {
      const TokenId token = tokens_.ValueOf(node);
      if (token == ByteTrie::kNoValue) continue;
      if (at + 1 - begin == codepoint_size) codepoint_is_token = true;
      const bool user_defined = vocabulary().Is(token, token_attribute::kUserDefined);
      offer(at + 1, token, user_defined ? 0.0 : static_cast<double>(vocabulary().score(token)));
    }
    if (!codepoint_is_token) {
      offer(begin + codepoint_size, vocabulary().unknown(), static_cast<double>(unknown_score_));
    }
    return codepoint_size;
  }

  std::string Normalize(std::string_view text) const {
    std::string out;
    out.reserve(text.size() * 3 / 2 + kEscapedSpace.size());
    bool space_prepended = false;
    bool in_word = false;
    for (size_t offset = 0; offset < text.size();) {
      const Charsmap::Replacement prefix = NormalizePrefix(text.substr(offset));
      offset += prefix.prefix_size;
      for (const char c : prefix.text) {
        if (c == ' ') {
          in_word = false;
          if (!merges_spaces_) out += kEscapedSpace;
          continue;
        }
        if (!in_word) {
          in_word = true;
          if ((adds_space_prefix() && !space_prepended) || merges_spaces_) {
            out += kEscapedSpace;
            space_prepended = true;
          }
        }
        out.push_back(c);
      }
    }
    return out;
  }

  // REQUIRES: !text.empty().
  Charsmap::Replacement NormalizePrefix(std::string_view text) const {
    // As far as any user-defined token goes along with the text, it is not normalised.
    ByteTrie::Node node = user_defined_.Root();
    size_t common = 0;
    while (common < text.size() && user_defined_.Step(node, text[common])) ++common;
    if (common > 0) return {common, text.substr(0, common)};
    if (const auto replacement = charsmap_.Longest(text)) return *replacement;
    const Codepoint codepoint = DecodeCodepoint(text, 0);
    if (codepoint.num_bytes == 1 && codepoint.value == kReplacementCharacter) return {1, "\uFFFD"};
    return {codepoint.num_bytes, text.substr(0, codepoint.num_bytes)};
  }

  Charsmap charsmap_;  // views what the vocabulary's owner keeps
  bool merges_spaces_;
  ByteTrie tokens_;
  ByteTrie user_defined_;
  float unknown_score_ = 0;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> CreateUnigramTokenizer(TokenizerSpec& spec) {
  LEM_ASSIGN_OR_RETURN(Charsmap charsmap, Charsmap::Parse(spec.precompiled_charsmap));
  LEM_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(spec, {.eos = 1, .unknown = 2, .add_eos = true}));
  return std::unique_ptr<Tokenizer>(std::make_unique<UnigramTokenizer>(std::move(vocabulary), charsmap, spec));
}

}  // namespace lem
