// lem tokenize, lem detokenize: text to token ids and back, with the tokeniser of a model file.
#include <iostream>
#include <iterator>
#include <memory>

#include "apps/lem/commands.h"
#include "apps/lem/terminal.h"
#include "base/json.h"
#include "models/gguf_tokenizer.h"
#include "runtime/store/model_store.h"

namespace lem {
namespace {

struct TokenizeFlags {
  std::string model;
  bool special = false;
};

std::string ReadStandardInput() {
  std::cin.sync_with_stdio(false);
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& name_or_path) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelStore> store, ModelStore::Open());
  LEM_ASSIGN_OR_RETURN(const ModelRef model, store->Resolve(name_or_path));
  LEM_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(model.path));
  return LoadTokenizer(std::make_shared<const GgufFile>(std::move(file)));
}

Status Tokenize(const TokenizeFlags& flags) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, OpenTokenizer(flags.model));
  const SpecialTokens special = flags.special ? SpecialTokens::kParse : SpecialTokens::kAsText;
  JsonWriter out;
  out.BeginArray();
  for (const TokenId id : tokenizer->Encode(ReadStandardInput(), special, AddSpecial::kNone)) out.Int(id);
  out.EndArray();
  PrintLine(stdout, out.text());
  return OkStatus();
}

Status Detokenize(const TokenizeFlags& flags) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, OpenTokenizer(flags.model));
  LEM_ASSIGN_OR_RETURN(const JsonValue input, ParseJson(ReadStandardInput(), {.max_bytes = size_t{64} << 20}));
  if (!input.is_array()) return InvalidArgument("standard input must be a JSON array of token ids, such as [1, 2, 3]");
  std::vector<TokenId> ids;
  for (const JsonValue& item : input.get_array()) {
    const int64_t* id = item.if_int64();
    if (id == nullptr || *id < 0 || *id >= tokenizer->vocab_size()) {
      JsonWriter found;
      found.Value(item);
      return InvalidArgument("item {} is {}; allowed: token ids from 0 to {}", ids.size(), found.text(),
                             tokenizer->vocab_size() - 1);
    }
    ids.push_back(static_cast<TokenId>(*id));
  }
  const std::string text = tokenizer->Decode(ids, flags.special ? SpecialTokens::kParse : SpecialTokens::kAsText);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return OkStatus();
}

CLI::App* AddCommand(CLI::App& app, const char* name, const char* description,
                     const std::shared_ptr<TokenizeFlags>& flags) {
  CLI::App* command = app.add_subcommand(name, description);
  command->add_option("-m,--model", flags->model, "Name of a model in the store, or a .gguf file")->required();
  return command;
}

}  // namespace

void RegisterTokenize(CLI::App& app, Action& action) {
  auto flags = std::make_shared<TokenizeFlags>();  // shared by the parser and the actions
  CLI::App* tokenize = AddCommand(app, "tokenize", "Turn text on standard input into a JSON array of token ids", flags);
  tokenize->add_flag("--special", flags->special, "Text such as <|im_end|> becomes the control token of that name");
  tokenize->callback([flags, &action] { action = [flags] { return Finish(Tokenize(*flags)); }; });
  CLI::App* detokenize =
      AddCommand(app, "detokenize", "Turn a JSON array of token ids on standard input into text", flags);
  detokenize->add_flag("--special", flags->special, "Show control tokens by their names");
  detokenize->callback([flags, &action] { action = [flags] { return Finish(Detokenize(*flags)); }; });
}

}  // namespace lem
