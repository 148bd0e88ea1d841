// WordPiece ("bert"): text is normalised and cut into words; each word, with U+2581 before it, is spelled by the
// longest tokens from the left, and a word that cannot be spelled to its end is one unknown token.
#include "text/byte_trie.h"
#include "text/utf8.h"
#include "text/vocabulary_tokenizer.h"

namespace lem {
namespace {

// The blocks whose code points are words of their own. Extension E begins at U+2B920 here, as in the original
// tokenizer, though the block begins at U+2B820.
bool IsChineseCharacter(char32_t value) {
  return (value >= 0x4E00 && value <= 0x9FFF) || (value >= 0x3400 && value <= 0x4DBF) ||
         (value >= 0x20000 && value <= 0x2A6DF) || (value >= 0x2A700 && value <= 0x2B73F) ||
         (value >= 0x2B740 && value <= 0x2B81F) || (value >= 0x2B920 && value <= 0x2CEAF) ||
         (value >= 0xF900 && value <= 0xFAFF) || (value >= 0x2F800 && value <= 0x2FA1F);
}

class WordPieceTokenizer final : public VocabularyTokenizer {
 public:
  WordPieceTokenizer(Vocabulary vocabulary, const TokenizerSpec& spec)
      : VocabularyTokenizer(std::move(vocabulary), TokenSpelling::kEscaped, spec.add_space_prefix.value_or(false)),
        lowercases_(spec.lowercase.value_or(true)),
        strips_accents_(spec.strip_accents.value_or(lowercases_)) {
    std::vector<ByteTrie::Entry> entries;
    for (TokenId id = 0; id < this->vocabulary().size(); ++id) {
      // Text must never become a control token.
      if (!this->vocabulary().Is(id, token_attribute::kControl)) entries.push_back({this->vocabulary().text(id), id});
    }
    tokens_ = ByteTrie(std::move(entries));
  }

  bool adds_bos() const override { return vocabulary().bos() != Vocabulary::kNone; }

 private:
  TokenId closing_token() const override { return vocabulary().separator(); }

  void EncodeText(std::string_view text, bool /*begins_text*/, EncodeScratch& /*scratch*/,
                  std::vector<TokenId>& out) const override {
    std::string word(kEscapedSpace);
    const auto finish_word = [&] {
      if (word.size() > kEscapedSpace.size()) EncodeWord(word, out);
      word.resize(kEscapedSpace.size());
    };
    for (size_t offset = 0; offset < text.size();) {
      Codepoint codepoint = DecodeCodepoint(text, offset);
      offset += codepoint.num_bytes;
      if (strips_accents_) codepoint.value = DecompositionBase(codepoint.value);
      const char32_t value = codepoint.value;
      const CharClass category = ClassOf(value);
      if (category == CharClass::kWhitespace) {
        finish_word();
        continue;
      }
      if (value == 0 || value == kReplacementCharacter || category == CharClass::kControl) continue;
      if (strips_accents_ && category == CharClass::kMark) continue;
      const bool stands_alone = category == CharClass::kPunctuation ||
                                (value < 0x7F && category == CharClass::kSymbol) || IsChineseCharacter(value);
      if (stands_alone) finish_word();
      AppendUtf8(lowercases_ ? ToLower(value) : value, word);
      if (stands_alone) finish_word();
    }
    finish_word();
  }

  void EncodeWord(std::string_view word, std::vector<TokenId>& out) const {
    const size_t first_token = out.size();
    for (size_t begin = 0; begin < word.size();) {
      TokenId longest = Vocabulary::kNone;
      size_t longest_end = begin;
      ByteTrie::Node node = tokens_.Root();
      for (size_t at = begin; at < word.size() && tokens_.Step(node, word[at]); ++at) {
        if (tokens_.ValueOf(node) == ByteTrie::kNoValue) continue;
        longest = tokens_.ValueOf(node);
        longest_end = at + 1;
      }
      if (longest == Vocabulary::kNone) {
        out.resize(first_token);
        if (vocabulary().unknown() != Vocabulary::kNone) out.push_back(vocabulary().unknown());
        return;
      }
      out.push_back(longest);
      begin = longest_end;
    }
  }

  bool lowercases_;
  bool strips_accents_;
  ByteTrie tokens_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> CreateWordPieceTokenizer(TokenizerSpec& spec) {
  LEM_ASSIGN_OR_RETURN(
      Vocabulary vocabulary,
      Vocabulary::Create(spec, {.bos = 101, .unknown = 100, .separator = 102, .add_bos = true, .add_separator = true}));
  return std::unique_ptr<Tokenizer>(std::make_unique<WordPieceTokenizer>(std::move(vocabulary), spec));
}

}  // namespace lem
