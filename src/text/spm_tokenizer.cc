// SentencePiece BPE ("llama"): the neighbours whose union is the token of the highest score are joined first; what is
// no token at the end is spelled in <0xXX> tokens.
#include <bit>
#include <cmath>

#include "text/joinable_pairs.h"
#include "text/piece_merger.h"
#include "text/utf8.h"
#include "text/vocabulary_tokenizer.h"

namespace lem {
namespace {

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

  void EncodeText(std::string_view text, bool begins_text, EncodeScratch& scratch,
                  std::vector<TokenId>& out) const override {
    std::string escaped(adds_space_prefix() && begins_text ? kEscapedSpace : std::string_view());
    escaped += EscapeSpaces(text);
    const std::string_view all = scratch.Keep(std::move(escaped));
    for (size_t begin = 0; begin < all.size();) {
      const std::string_view piece = joinable_.TakePiece(all.substr(begin));
      begin += piece.size();
      scratch.cache.Encode(piece, out, [&] { EncodePiece(piece, scratch.merger, out); });
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

Result<std::unique_ptr<Tokenizer>> CreateSpmTokenizer(TokenizerSpec& spec) {
  LEM_ASSIGN_OR_RETURN(Vocabulary vocabulary,
                       Vocabulary::Create(spec, {.bos = 1, .eos = 2, .unknown = 0, .add_bos = true}));
  return std::unique_ptr<Tokenizer>(std::make_unique<SpmTokenizer>(std::move(vocabulary), spec));
}

}  // namespace lem
