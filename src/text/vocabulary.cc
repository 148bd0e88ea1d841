#include "text/vocabulary.h"

#include <algorithm>
#include <limits>
#include <random>

#include "base/log.h"

namespace lem {
namespace {

namespace attribute = token_attribute;

uint16_t AttributeOfType(int32_t type) {
  switch (static_cast<TokenType>(type)) {
    case TokenType::kNormal:
      return attribute::kNormal;
    case TokenType::kUnknown:
      return attribute::kUnknown;
    case TokenType::kControl:
      return attribute::kControl;
    case TokenType::kUserDefined:
      return attribute::kUserDefined;
    case TokenType::kUnused:
      return attribute::kUnused;
    case TokenType::kByte:
      return attribute::kByte;
    default:
      return attribute::kUndefined;
  }
}

// -1 if it is no hexadecimal digit.
int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool ContainsAny(std::string_view text, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [text](std::string_view part) { return text.find(part) != std::string_view::npos; });
}

std::string LowerAscii(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return text;
}

}  // namespace

uint64_t HashSeed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return static_cast<uint64_t>(device()) << 32 | device();
  }();
  return seed;
}

Result<Vocabulary> Vocabulary::Create(TokenizerSpec& spec, const VocabularyDefaults& defaults) {
  Vocabulary out;
  LEM_TRY(out.LoadTokens(spec));
  out.DropForeignIds(spec);
  LEM_TRY(out.LoadIds(spec, defaults));
  out.MarkEndOfGeneration(spec);
  out.ListSpecialTokens();
  out.MarkStripping(spec);
  out.owner_ = spec.owner;
  return out;
}

Status Vocabulary::LoadTokens(TokenizerSpec& spec) {
  const size_t count = spec.tokens.size();
  if (count == 0 || count > static_cast<size_t>(std::numeric_limits<TokenId>::max() / 2)) {
    return InvalidArgument("tokenizer.ggml.tokens has {} tokens; allowed: 1 to {}", count,
                           std::numeric_limits<TokenId>::max() / 2);
  }
  if (!spec.scores.empty() && spec.scores.size() < count) {
    return DataLoss("tokenizer.ggml.scores has {} entries for {} tokens", spec.scores.size(), count);
  }
  if (!spec.token_types.empty() && spec.token_types.size() < count) {
    return DataLoss("tokenizer.ggml.token_type has {} entries for {} tokens", spec.token_types.size(), count);
  }
  texts_ = std::move(spec.tokens);
  scores_ = std::move(spec.scores);
  index_.Reserve(count);
  attributes_.assign(count, attribute::kNormal);
  for (size_t i = 0; i < count; ++i) {
    if (texts_[i].empty()) texts_[i] = own_texts_.emplace_back(fmt::format("[EMPTY_{}]", i));
    index_.FindOrInsert(static_cast<int32_t>(i), texts_);
    if (!spec.token_types.empty()) attributes_[i] = AttributeOfType(spec.token_types[i]);
  }
  for (size_t byte = 0; byte < byte_tokens_.size(); ++byte) byte_tokens_[byte] = Find(fmt::format("<0x{:02X}>", byte));
  return OkStatus();
}

// Converters copy ids from configurations that other programs never look at, so some lie outside the vocabulary. They
// count as not stated, as in llama.cpp.
void Vocabulary::DropForeignIds(TokenizerSpec& spec) const {
  struct Named {
    std::string_view key;
    std::optional<TokenId>* id;
  };
  for (const auto& [key, id] :
       {Named{"bos_token_id", &spec.bos}, Named{"eos_token_id", &spec.eos}, Named{"eot_token_id", &spec.eot},
        Named{"eom_token_id", &spec.eom}, Named{"unknown_token_id", &spec.unknown},
        Named{"seperator_token_id", &spec.separator}, Named{"padding_token_id", &spec.padding},
        Named{"mask_token_id", &spec.mask}, Named{"fim_pre_token_id", &spec.fim_prefix},
        Named{"fim_suf_token_id", &spec.fim_suffix}, Named{"fim_mid_token_id", &spec.fim_middle},
        Named{"fim_pad_token_id", &spec.fim_padding}, Named{"fim_rep_token_id", &spec.fim_repository},
        Named{"fim_sep_token_id", &spec.fim_separator}}) {
    if (!*id || Contains(**id)) continue;
    LogWarning("tokenizer.ggml.{} is {}, outside the vocabulary of {} tokens: ignored", key, **id, size());
    id->reset();
  }
  std::erase_if(spec.extra_end_tokens, [this](TokenId id) { return !Contains(id); });
}

Status Vocabulary::LoadIds(const TokenizerSpec& spec, const VocabularyDefaults& defaults) {
  const auto choose = [this](std::optional<TokenId> stated, TokenId fallback) {
    return stated ? *stated : Contains(fallback) ? fallback : kNone;
  };
  bos_ = choose(spec.bos, defaults.bos);
  eos_ = choose(spec.eos, defaults.eos);
  unknown_ = choose(spec.unknown, defaults.unknown);
  separator_ = choose(spec.separator, defaults.separator);
  add_bos_ = spec.add_bos.value_or(defaults.add_bos) || defaults.always_add_bos;
  add_eos_ = spec.add_eos.value_or(defaults.add_eos);
  constexpr std::string_view kMissing =
      "tokenizer.ggml.add_{0}_token is true, but tokenizer.ggml.{0}_token_id is not set";
  if (add_bos_ && bos_ == kNone) return InvalidArgument(kMissing, "bos");
  if (add_eos_ && eos_ == kNone) return InvalidArgument(kMissing, "eos");
  if (spec.add_separator.value_or(defaults.add_separator) && separator_ == kNone) {
    return InvalidArgument("tokenizer.ggml.add_sep_token is true, but tokenizer.ggml.seperator_token_id is not set");
  }
  return OkStatus();
}

// The stated id, or the first token with one of the names, which thereby becomes a control token.
TokenId Vocabulary::ControlNamed(std::optional<TokenId> stated, std::initializer_list<std::string_view> names) {
  if (stated) return *stated;
  for (const std::string_view name : names) {
    const TokenId id = Find(name);
    if (id == kNone) continue;
    attributes(id) |= attribute::kControl;
    return id;
  }
  return kNone;
}

// Model files rarely say which tokens end an answer: most are known by name (the names that llama.cpp knows).
void Vocabulary::MarkEndOfGeneration(const TokenizerSpec& spec) {
  const TokenId eot = ControlNamed(
      spec.eot, {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>",
                 "_<EOT>", "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>"});
  const TokenId eom = ControlNamed(spec.eom, {"<|eom_id|>"});
  ControlNamed(spec.fim_prefix, {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
                                 "<|code_prefix|>", "<|prefix|>"});
  ControlNamed(spec.fim_suffix, {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
                                 "<|code_suffix|>", "<|suffix|>"});
  ControlNamed(spec.fim_middle, {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
                                 "<|code_middle|>", "<|middle|>"});
  end_tokens_ = spec.extra_end_tokens;
  end_tokens_.push_back(ControlNamed(spec.fim_padding, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}));
  end_tokens_.push_back(
      ControlNamed(spec.fim_repository, {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}));
  end_tokens_.push_back(ControlNamed(spec.fim_separator, {"<|file_sep|>"}));
  for (const std::string_view name : {"<|eot_id|>",
                                      "<|im_end|>",
                                      "<|end|>",
                                      "<|return|>",
                                      "<|call|>",
                                      "<|flush|>",
                                      "<|calls|>",
                                      "<end_of_turn>",
                                      "<|endoftext|>",
                                      "</s>",
                                      "<|eom_id|>",
                                      "<EOT>",
                                      "_<EOT>",
                                      "[EOT]",
                                      "[EOS]",
                                      "<|end_of_text|>",
                                      "<end_of_utterance>",
                                      "<eos>",
                                      "<turn|>",
                                      "<|tool_response>",
                                      "<｜end▁of▁sentence｜>",
                                      "[e~["}) {
    end_tokens_.push_back(ControlNamed(std::nullopt, {name}));
  }
  // gpt-oss writes these as a part of its answer.
  for (const std::string_view name : {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"}) {
    if (const TokenId id = Find(name); id != kNone) attributes(id) = attribute::kUserDefined;
  }
  for (const TokenId id : {eos_, eot, eom}) end_tokens_.push_back(id);
  std::sort(end_tokens_.begin(), end_tokens_.end());
  end_tokens_.erase(std::unique(end_tokens_.begin(), end_tokens_.end()), end_tokens_.end());
  std::erase(end_tokens_, kNone);

  const auto ends = [this](std::string_view name) { return EndsGeneration(Find(name)); };
  // Where an answer has parts, <|end|> ends only one of them.
  const bool has_call = ends("<|call|>") || ends("<|calls|>");
  if (has_call && (ends("<|return|>") || ends("<|flush|>")) && ends("<|end|>")) {
    RemoveEnd(Find("<|end|>"), attribute::kUserDefined);
  }
  if (ends("<|tool_response>") && ends("</s>")) RemoveEnd(Find("</s>"), attribute::kNormal);
}

void Vocabulary::RemoveEnd(TokenId id, uint16_t new_attributes) {
  std::erase(end_tokens_, id);
  attributes(id) = new_attributes;
}

void Vocabulary::ListSpecialTokens() {
  for (TokenId id = 0; id < size(); ++id) {
    if (Is(id, attribute::kControl | attribute::kUserDefined | attribute::kUnknown)) special_tokens_.push_back(id);
  }
  // Not a stable sort: among equally long tokens that overlap, this order is llama.cpp's.
  std::sort(special_tokens_.begin(), special_tokens_.end(),
            [this](TokenId a, TokenId b) { return text(a).size() > text(b).size(); });
}

// Whether special tokens swallow white space beside them is in no model file: it is known by the model's name.
void Vocabulary::MarkStripping(const TokenizerSpec& spec) {
  const auto mark = [this](std::string_view name, uint16_t strip) {
    if (const TokenId id = Find(name); id != kNone) attributes(id) |= strip;
  };
  const std::string model_name = LowerAscii(spec.model_name);
  if (ContainsAny(spec.pre, {"jina-v2-de", "jina-v2-es", "jina-v2-code"}) ||
      ContainsAny(spec.architecture, {"nomic-bert-moe", "jina-bert-v3"})) {
    mark("<mask>", attribute::kStripLeft);
  } else if (ContainsAny(model_name, {"phi-3", "phi3"})) {
    for (const TokenId id : special_tokens_) attributes(id) |= attribute::kStripRight;
    mark("</s>", attribute::kStripRight);
    for (const std::string_view name : {"<unk>", "<s>", "<|endoftext|>"}) {
      if (const TokenId id = Find(name); id != kNone) {
        attributes(id) = static_cast<uint16_t>(attributes(id) & ~attribute::kStripRight);
      }
    }
  } else if (ContainsAny(model_name, {"modern-bert"})) {
    mark("[MASK]", attribute::kStripLeft);
  }
}

TokenType Vocabulary::type(TokenId id) const {
  if (Is(id, attribute::kControl)) return TokenType::kControl;
  if (Is(id, attribute::kUnknown)) return TokenType::kUnknown;
  if (Is(id, attribute::kUserDefined)) return TokenType::kUserDefined;
  if (Is(id, attribute::kByte)) return TokenType::kByte;
  if (Is(id, attribute::kUnused)) return TokenType::kUnused;
  return Is(id, attribute::kNormal) ? TokenType::kNormal : TokenType::kUndefined;
}

std::optional<uint8_t> Vocabulary::ByteOf(TokenId id) const {
  const std::string_view name = text(id);
  if (name.size() != 6 || !name.starts_with("<0x") || name.back() != '>') return std::nullopt;
  const int high = HexValue(name[3]);
  const int low = HexValue(name[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

bool Vocabulary::EndsGeneration(TokenId id) const {
  return std::binary_search(end_tokens_.begin(), end_tokens_.end(), id);
}

}  // namespace lem
