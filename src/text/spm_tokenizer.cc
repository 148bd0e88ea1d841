// SentencePiece BPE ("llama"): the neighbours whose union is the token of the highest score are joined first; what is
// no token at the end is spelled in <0xXX> tokens.
#include <array>
#include <bit>
#include <bitset>
#include <cmath>

#include "text/piece_merger.h"
#include "text/utf8.h"
#include "text/vocabulary_tokenizer.h"

namespace lem {
namespace {

// Pairs of neighbouring bytes that stand side by side in some token. Where a text has a pair that is in none, no merge
// can cross: the text falls apart into short pieces that merge on their own, with the same result.
class JoinablePairs {
 public:
  void AddToken(std::string_view text) {
    for (size_t i = 1; i < text.size(); ++i) {
      if (text.substr(i).starts_with(kEscapedSpace)) {
        before_space_.set(static_cast<uint8_t>(text[i - 1]));
      } else {
        pairs_.set(Key(text[i - 1], text[i]));
      }
    }
  }
  // REQUIRES: 0 < position < text.size(), at the beginning of a code point.
  bool Joins(std::string_view text, size_t position) const {
    if (text.substr(position).starts_with(kEscapedSpace)) {
      return before_space_.test(static_cast<uint8_t>(text[position - 1]));
    }
    return pairs_.test(Key(text[position - 1], text[position]));
  }

 private:
  static size_t Key(char a, char b) {
    return static_cast<size_t>(static_cast<uint8_t>(a)) << 8 | static_cast<uint8_t>(b);
  }
  std::bitset<65536> pairs_;
  std::bitset<256> before_space_;
};

// Orders as the floats do, the highest first.
int32_t RankOfScore(float score) {
  if (std::isnan(score)) return INT32_MAX;
  const int32_t bits = std::bit_cast<int32_t>(score + 0.0F);  // no negative zero
  return ~(bits >= 0 ? bits : bits ^ INT32_MAX);
}

class SpmTokenizer final : public VocabularyTokenizer {
 public:
  SpmTokenizer(Vocabulary vocabulary, const TokenizerSpec& spec)
      : VocabularyTokenizer(std::move(vocabulary), TokenSpelling::kEscaped, spec.add_space_prefix.value_or(true)) {
    for (TokenId id = 0; id < this->vocabulary().size(); ++id) {
      if (IsMergeable(id)) joinable_.AddToken(this->vocabulary().text(id));
    }
  }

 private:
  // Text must never merge into a control token.
  bool IsMergeable(TokenId id) const { return !vocabulary().Is(id, token_attribute::kControl); }
  TokenId FindMergeable(std::string_view text) const {
    const TokenId id = vocabulary().Find(text);
    return id != Vocabulary::kNone && IsMergeable(id) ? id : Vocabulary::kNone;
  }

  void EncodeText(std::string_view text, bool begins_text, std::vector<TokenId>& out) const override {
    std::string escaped(adds_space_prefix() && begins_text ? kEscapedSpace : std::string_view());
    escaped += EscapeSpaces(text);
    const std::string_view all = escaped;
    PieceMerger merger;
    PieceCache cache(all.size());
    for (size_t begin = 0; begin < all.size();) {
      size_t end = begin;
      do {
        end = std::min(end + ClaimedUtf8Length(all[end]), all.size());
      } while (end < all.size() && joinable_.Joins(all, end));
      const std::string_view piece = all.substr(begin, end - begin);
      begin = end;
      if (!cache.Takes(piece)) {
        EncodePiece(piece, merger, out);
        continue;
      }
      PieceCache::Entry& entry = cache.At(piece);
      if (entry.piece != piece) {
        entry = {piece, out.size(), 0};
        EncodePiece(piece, merger, out);
        entry.num_tokens = out.size() - entry.first_token;
        continue;
      }
      for (size_t i = 0; i < entry.num_tokens; ++i) out.push_back(out[entry.first_token + i]);
    }
  }

  void EncodePiece(std::string_view piece, PieceMerger& merger, std::vector<TokenId>& out) const {
    std::vector<Symbol>& symbols = merger.symbols();
    symbols.clear();
    for (size_t offset = 0; offset < piece.size();) {
      const size_t size = std::min(ClaimedUtf8Length(piece[offset]), piece.size() - offset);
      Symbol& symbol = symbols.emplace_back();
      symbol.id = FindMergeable(piece.substr(offset, size));
      symbol.begin = static_cast<uint32_t>(offset);
      symbol.size = static_cast<uint32_t>(size);
      offset += size;
    }
    merger.Merge([&](const Symbol& left, const Symbol& right) -> MergeResult {
      const TokenId id = FindMergeable(piece.substr(left.begin, left.size + right.size));
      if (id == Vocabulary::kNone) return {};
      return {RankOfScore(vocabulary().score(id)), id};
    });
    for (const Symbol& symbol : symbols) {
      if (symbol.size == 0) continue;
      if (symbol.id != kNoSymbol) {
        out.push_back(symbol.id);
      } else {
        for (const char byte : piece.substr(symbol.begin, symbol.size)) AppendByte(byte, out);
      }
    }
  }

  void AppendByte(char byte, std::vector<TokenId>& out) const {
    TokenId id = vocabulary().ByteToken(static_cast<uint8_t>(byte));
    if (id == Vocabulary::kNone) id = FindMergeable({&byte, 1});
    if (id == Vocabulary::kNone) id = vocabulary().unknown();
    if (id != Vocabulary::kNone) out.push_back(id);
  }

  JoinablePairs joinable_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> CreateSpmTokenizer(const TokenizerSpec& spec) {
  LEM_ASSIGN_OR_RETURN(Vocabulary vocabulary,
                       Vocabulary::Create(spec, {.bos = 1, .eos = 2, .unknown = 0, .add_bos = true}));
  return std::unique_ptr<Tokenizer>(std::make_unique<SpmTokenizer>(std::move(vocabulary), spec));
}

}  // namespace lem
