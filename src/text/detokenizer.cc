#include "text/detokenizer.h"

#include "text/utf8.h"

namespace lem {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

// How a strict decoder (Unicode, table 3-7) sees the start of some bytes.
struct Prefix {
  enum class Kind { kWhole, kUnfinished, kBroken } kind = Kind::kBroken;
  size_t num_bytes = 1;  // kBroken: bytes that one U+FFFD stands for
};

Prefix ClassifyPrefix(std::string_view bytes) {
  const uint8_t first = static_cast<uint8_t>(bytes[0]);
  if (first < 0x80) return {Prefix::Kind::kWhole, 1};
  if (first < 0xC2 || first > 0xF4) return {Prefix::Kind::kBroken, 1};
  const size_t size = ClaimedUtf8Length(bytes[0]);
  for (size_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return {Prefix::Kind::kUnfinished, i};
    const uint8_t byte = static_cast<uint8_t>(bytes[i]);
    // The second byte excludes overlong forms, surrogates and what is above U+10FFFF.
    const uint8_t low = i == 1 && first == 0xE0 ? 0xA0 : i == 1 && first == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = i == 1 && first == 0xED ? 0x9F : i == 1 && first == 0xF4 ? 0x8F : 0xBF;
    if (byte < low || byte > high) return {Prefix::Kind::kBroken, i};
  }
  return {Prefix::Kind::kWhole, size};
}

}  // namespace

bool IsWholeUtf8(std::string_view text) {
  while (!text.empty()) {
    const Prefix prefix = ClassifyPrefix(text);
    if (prefix.kind != Prefix::Kind::kWhole) return false;
    text.remove_prefix(prefix.num_bytes);
  }
  return true;
}

StreamingDetokenizer::StreamingDetokenizer(const Tokenizer& tokenizer, SpecialTokens special, bool at_text_start)
    : tokenizer_(&tokenizer), special_(special), drop_leading_space_(at_text_start) {}

std::string StreamingDetokenizer::Append(TokenId id) {
  std::string text = tokenizer_->TokenText(id, special_);
  if (text.empty()) return {};
  if (drop_leading_space_) {
    // Decode knows whether this model puts a space there.
    text = tokenizer_->Decode({&id, 1}, special_);
    drop_leading_space_ = false;
  }
  pending_ += text;
  std::string out;
  size_t at = 0;
  while (at < pending_.size()) {
    const Prefix prefix = ClassifyPrefix(std::string_view(pending_).substr(at));
    if (prefix.kind == Prefix::Kind::kUnfinished) break;
    if (prefix.kind == Prefix::Kind::kWhole) {
      out.append(pending_, at, prefix.num_bytes);
    } else {
      out += kReplacement;
    }
    at += prefix.num_bytes;
  }
  pending_.erase(0, at);
  return out;
}

std::string StreamingDetokenizer::Finish() {
  if (pending_.empty()) return {};
  pending_.clear();
  return std::string(kReplacement);
}

}  // namespace lem
