// Byte-level BPE (GPT-2 and its many children) and BPE over raw UTF-8 (Gemma 4).
//
// Symbols are numbered: vocabulary tokens have their ids, strings that only merges mention have the numbers after them.
// A merge is then a look-up of two numbers. Within a piece the pair of the lowest rank merges first, and of equal ranks
// the leftmost.
#include <algorithm>
#include <array>
#include <deque>

#include "text/byte_level.h"
#include "text/flat_index.h"
#include "text/joinable_pairs.h"
#include "text/piece_merger.h"
#include "text/pretokenizer.h"
#include "text/utf8.h"
#include "text/vocabulary_tokenizer.h"

namespace lem {
namespace {

// The numbered strings and the merges between them.
class MergeTable {
 public:
  // `vocabulary` must outlive the table.
  MergeTable(const Vocabulary& vocabulary, const std::vector<std::string_view>& merges) : vocabulary_(vocabulary) {
    pairs_.Reserve(merges.size());
    std::string merged;
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const std::string_view merge = merges[rank];
      // The first part is at least one byte: it may be a space itself.
      const size_t space = merge.find(' ', 1);
      if (space == std::string_view::npos) continue;
      const std::string_view left = merge.substr(0, space);
      const std::string_view right = merge.substr(space + 1);
      merged.assign(left).append(right);
      joinable_.AddToken(merged);
      pairs_.Insert(Number(left), Number(right), {static_cast<int32_t>(rank), Number(merged)});
    }
  }

  // kNoSymbol if it has none.
  int32_t Find(std::string_view text) const {
    const TokenId token = FindToken(text);
    if (token != Vocabulary::kNone) return token;
    const int32_t extra = extra_index_.Find(text, extra_);
    return extra == StringIndex::kNone ? kNoSymbol : vocabulary_.size() + extra;
  }
  // Text must never merge into a control token.
  TokenId FindToken(std::string_view text) const {
    const TokenId token = vocabulary_.Find(text);
    return token != Vocabulary::kNone && vocabulary_.Is(token, token_attribute::kControl) ? Vocabulary::kNone : token;
  }
  const JoinablePairs& joinable() const { return joinable_; }
  MergeResult operator()(const Symbol& left, const Symbol& right) const {
    if (left.id == kNoSymbol || right.id == kNoSymbol) return {};
    return pairs_.Find(left.id, right.id);
  }

 private:
  int32_t Number(std::string_view text) {
    const int32_t known = Find(text);
    if (known != kNoSymbol) return known;
    extra_.push_back(extra_storage_.emplace_back(text));
    return vocabulary_.size() + extra_index_.FindOrInsert(static_cast<int32_t>(extra_.size() - 1), extra_);
  }

  const Vocabulary& vocabulary_;
  std::deque<std::string> extra_storage_;
  std::vector<std::string_view> extra_;
  StringIndex extra_index_;
  PairIndex pairs_;
  JoinablePairs joinable_;
};

class BpeTokenizer final : public VocabularyTokenizer {
 public:
  BpeTokenizer(Vocabulary vocabulary, PreTokenizer pre_tokenizer, const TokenizerSpec& spec)
      : VocabularyTokenizer(std::move(vocabulary),
                            pre_tokenizer.traits().escapes_spaces ? TokenSpelling::kEscaped : TokenSpelling::kByteLevel,
                            spec.add_space_prefix.value_or(false)),
        pre_tokenizer_(std::move(pre_tokenizer)),
        merges_(this->vocabulary(), spec.merges),
        splits_words_(spec.model == "whitespace"),
        lowercases_(splits_words_ && spec.lowercase.value_or(false)) {
    for (size_t byte = 0; byte < byte_symbols_.size(); ++byte) {
      byte_symbols_[byte] = merges_.Find(ByteLevelAlphabet()[byte].view());
    }
  }

 private:
  void EncodeText(std::string_view text, bool /*begins_text*/, EncodeScratch& scratch,
                  std::vector<TokenId>& out) const override {
    if (pre_tokenizer_.traits().escapes_spaces) text = scratch.Keep(EscapeSpaces(text));
    if (!IsStableUtf8(text)) text = scratch.Keep(StabiliseUtf8(text));
    if (splits_words_) {
      EncodeWords(text, scratch, out);
    } else {
      EncodePieces(text, scratch, out);
    }
  }

  void EncodeWords(std::string_view text, EncodeScratch& scratch, std::vector<TokenId>& out) const {
    std::string word;
    for (size_t offset = 0; offset <= text.size();) {
      const Codepoint codepoint = offset < text.size() ? DecodeCodepoint(text, offset) : Codepoint{U' ', 1};
      offset += codepoint.num_bytes;
      if (ClassOf(codepoint.value) != CharClass::kWhitespace) {
        AppendUtf8(lowercases_ ? ToLower(codepoint.value) : codepoint.value, word);
      } else if (!word.empty()) {
        EncodePieces(scratch.Keep(word), scratch, out);
        word.clear();
      }
    }
  }

  void EncodePieces(std::string_view text, EncodeScratch& scratch, std::vector<TokenId>& out) const {
    std::string spelled;
    size_t offset = 0;
    for (const size_t size : pre_tokenizer_.Split(text)) {
      std::string_view piece = text.substr(offset, size);
      offset += size;
      if (const TokenId token = FindWhole(piece, spelled); token != Vocabulary::kNone) {
        out.push_back(token);
      } else if (pre_tokenizer_.traits().byte_level) {
        scratch.cache.Encode(piece, out, [&] { EncodePiece(piece, scratch.merger, out); });
      } else {
        // These pieces are whole lines.
        while (!piece.empty()) {
          const std::string_view part = merges_.joinable().TakePiece(piece);
          scratch.cache.Encode(part, out, [&] { EncodePiece(part, scratch.merger, out); });
          piece.remove_prefix(part.size());
        }
      }
    }
  }

  // The token that the piece is without any merging, where the pre-tokeniser allows that.
  TokenId FindWhole(std::string_view piece, std::string& spelled) const {
    const PreTokenizerTraits& traits = pre_tokenizer_.traits();
    const bool is_newline_run = traits.merges_newline_runs && piece.find_first_not_of('\n') == std::string_view::npos;
    if (!traits.ignore_merges && !is_newline_run) return Vocabulary::kNone;
    if (!traits.byte_level) return merges_.FindToken(piece);
    spelled.clear();
    AppendByteLevel(piece, spelled);
    return merges_.FindToken(spelled);
  }

  void EncodePiece(std::string_view piece, PieceMerger& merger, std::vector<TokenId>& out) const {
    std::vector<Symbol>& symbols = merger.symbols();
    symbols.clear();
    for (size_t offset = 0; offset < piece.size();) {
      const bool byte_level = pre_tokenizer_.traits().byte_level;
      const size_t size = byte_level ? 1 : std::min(ClaimedUtf8Length(piece[offset]), piece.size() - offset);
      Symbol& symbol = symbols.emplace_back();
      symbol.id =
          byte_level ? byte_symbols_[static_cast<uint8_t>(piece[offset])] : merges_.Find(piece.substr(offset, size));
      symbol.begin = static_cast<uint32_t>(offset);
      symbol.size = static_cast<uint32_t>(size);
      offset += size;
    }
    merger.Merge(merges_);
    for (const Symbol& symbol : symbols) {
      if (symbol.size == 0) continue;
      if (symbol.id != kNoSymbol && symbol.id < vocabulary().size()) {
        out.push_back(symbol.id);
      } else {
        AppendFallback(piece.substr(symbol.begin, symbol.size), out);
      }
    }
  }

  // A symbol that is no token: byte by byte, and what has no token is left out.
  void AppendFallback(std::string_view bytes, std::vector<TokenId>& out) const {
    const auto append = [&out](TokenId token) {
      if (token != Vocabulary::kNone) out.push_back(token);
    };
    for (const char byte : bytes) {
      if (!pre_tokenizer_.traits().byte_level) {
        append(vocabulary().ByteToken(static_cast<uint8_t>(byte)));
        continue;
      }
      for (const char& c : ByteLevelAlphabet()[static_cast<uint8_t>(byte)].view()) append(merges_.FindToken({&c, 1}));
    }
  }

  PreTokenizer pre_tokenizer_;
  MergeTable merges_;
  std::array<int32_t, 256> byte_symbols_{};
  bool splits_words_;
  bool lowercases_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> CreateBpeTokenizer(TokenizerSpec& spec) {
  LEM_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Create(spec.model == "gemma4" ? "gemma4" : spec.pre));
  const PreTokenizerTraits& traits = pre_tokenizer.traits();
  VocabularyDefaults defaults;
  if (spec.model != "gemma4") defaults = {.bos = traits.no_default_bos ? Vocabulary::kNone : 11, .eos = 11};
  defaults.add_bos = traits.add_bos;
  defaults.always_add_bos = traits.always_adds_bos;
  LEM_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(spec, defaults));
  return std::unique_ptr<Tokenizer>(
      std::make_unique<BpeTokenizer>(std::move(vocabulary), std::move(pre_tokenizer), spec));
}

}  // namespace lem
