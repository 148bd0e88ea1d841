#include "models/gguf_tokenizer.h"

#include <fmt/format.h>

#include <limits>
#include <string>

namespace lem {
namespace {

// Keeps alive what the views of a TokenizerSpec point into.
struct SpecOwner {
  std::shared_ptr<const GgufFile> file;
  std::string precompiled_charsmap;
};

Status ReadId(const GgufFile& file, std::string_view name, std::optional<TokenId>& id) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
  if (!file.Has(key)) return OkStatus();
  LEM_ASSIGN_OR_RETURN(const int64_t value, file.GetInt(key));
  // llama.cpp's converter writes -1 (or 2^32 - 1) for "none".
  if (value == -1 || value == std::numeric_limits<uint32_t>::max()) return OkStatus();
  if (value < 0 || value > std::numeric_limits<TokenId>::max()) {
    return InvalidArgument("{} is {}; it must be an id of the vocabulary", key, value);
  }
  id = static_cast<TokenId>(value);
  return OkStatus();
}

Status ReadFlag(const GgufFile& file, std::string_view name, std::optional<bool>& flag) {
  const std::string key = fmt::format("tokenizer.ggml.{}", name);
  if (!file.Has(key)) return OkStatus();
  LEM_ASSIGN_OR_RETURN(flag, file.GetBool(key));
  return OkStatus();
}

Status ReadIds(const GgufFile& file, TokenizerSpec& spec) {
  // The last three are the old names of the fill-in-the-middle tokens: llama.cpp lets them win.
  for (const auto& [name, id] : std::initializer_list<std::pair<std::string_view, std::optional<TokenId>*>>{
           {"bos", &spec.bos},
           {"eos", &spec.eos},
           {"eot", &spec.eot},
           {"eom", &spec.eom},
           {"unknown", &spec.unknown},
           {"seperator", &spec.separator},  // spelled so in the files
           {"padding", &spec.padding},
           {"mask", &spec.mask},
           {"fim_pre", &spec.fim_prefix},
           {"fim_suf", &spec.fim_suffix},
           {"fim_mid", &spec.fim_middle},
           {"fim_pad", &spec.fim_padding},
           {"fim_rep", &spec.fim_repository},
           {"fim_sep", &spec.fim_separator},
           {"prefix", &spec.fim_prefix},
           {"suffix", &spec.fim_suffix},
           {"middle", &spec.fim_middle}}) {
    LEM_TRY(ReadId(file, name, *id));
  }
  return OkStatus();
}

Status ReadFlags(const GgufFile& file, TokenizerSpec& spec) {
  LEM_TRY(ReadFlag(file, "add_bos_token", spec.add_bos));
  LEM_TRY(ReadFlag(file, "add_eos_token", spec.add_eos));
  LEM_TRY(ReadFlag(file, "add_sep_token", spec.add_separator));
  LEM_TRY(ReadFlag(file, "add_space_prefix", spec.add_space_prefix));
  LEM_TRY(ReadFlag(file, "remove_extra_whitespaces", spec.remove_extra_whitespaces));
  LEM_TRY(ReadFlag(file, "normalizer.lowercase", spec.lowercase));
  return ReadFlag(file, "normalizer.strip_accents", spec.strip_accents);
}

Result<std::string> ReadCharsmap(const GgufFile& file) {
  constexpr std::string_view kKey = "tokenizer.ggml.precompiled_charsmap";
  std::string out;
  if (!file.Has(kKey)) return out;
  LEM_ASSIGN_OR_RETURN(const std::vector<int64_t> bytes, file.GetInts(kKey));
  out.reserve(bytes.size());
  for (const int64_t byte : bytes) {
    if (byte < -128 || byte > 255) return InvalidArgument("{} holds {}; it must hold bytes", kKey, byte);
    out.push_back(static_cast<char>(byte));
  }
  return out;
}

// Scores and types: absent, or one per token.
Status ReadArrays(const GgufFile& file, TokenizerSpec& spec) {
  LEM_ASSIGN_OR_RETURN(spec.tokens, file.GetStrings("tokenizer.ggml.tokens"));
  if (file.Has("tokenizer.ggml.scores")) {
    LEM_ASSIGN_OR_RETURN(spec.scores, file.GetFloats("tokenizer.ggml.scores"));
  }
  if (file.Has("tokenizer.ggml.token_type")) {
    LEM_ASSIGN_OR_RETURN(const std::vector<int64_t> types, file.GetInts("tokenizer.ggml.token_type"));
    spec.token_types.reserve(types.size());
    for (const int64_t type : types) {
      const bool fits = type >= 0 && type <= static_cast<int64_t>(TokenType::kByte);
      spec.token_types.push_back(fits ? static_cast<int32_t>(type) : 0);
    }
  }
  const bool is_bpe = spec.model == "gpt2" || spec.model == "gemma4" || spec.model == "whitespace";
  if (is_bpe && (spec.pre != "kimi-k2" || file.Has("tokenizer.ggml.merges"))) {
    LEM_ASSIGN_OR_RETURN(spec.merges, file.GetStrings("tokenizer.ggml.merges"));
  }
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> LoadTokenizer(std::shared_ptr<const GgufFile> file) {
  TokenizerSpec spec;
  LEM_ASSIGN_OR_RETURN(spec.model, file->GetString("tokenizer.ggml.model"));
  LEM_ASSIGN_OR_RETURN(spec.pre, file->GetStringOr("tokenizer.ggml.pre", ""));
  LEM_ASSIGN_OR_RETURN(spec.model_name, file->GetStringOr("general.name", ""));
  LEM_ASSIGN_OR_RETURN(spec.architecture, file->GetStringOr("general.architecture", ""));
  LEM_TRY(ReadArrays(*file, spec));
  LEM_TRY(ReadIds(*file, spec));
  LEM_TRY(ReadFlags(*file, spec));
  LEM_ASSIGN_OR_RETURN(std::string charsmap, ReadCharsmap(*file));
  auto owner = std::make_shared<SpecOwner>(SpecOwner{std::move(file), std::move(charsmap)});
  spec.precompiled_charsmap = owner->precompiled_charsmap;
  spec.owner = std::move(owner);
  return Tokenizer::Create(std::move(spec));
}

}  // namespace lem
