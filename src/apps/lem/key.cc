// lem key add NAME: a new key for clients of `lem serve --api-keys FILE`.
#include <filesystem>
#include <memory>

#include "apps/lem/commands.h"
#include "apps/lem/terminal.h"
#include "base/file.h"
#include "server/api_keys.h"

namespace lem {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;  // as TOML files have at most

struct KeyFlags {
  std::string name;
  std::string file;
  std::vector<std::string> scopes = {"inference"};
  std::string expires;
  int64_t requests_per_minute = 0, tokens_per_minute = 0;
};

std::string Describe(const KeyFlags& flags, const std::string& hash) {
  std::string scopes;
  for (const std::string& scope : flags.scopes) scopes += fmt::format("{}\"{}\"", scopes.empty() ? "" : ", ", scope);
  std::string text = fmt::format("[[key]]\nname = \"{}\"\nsha256 = \"{}\"\nscopes = [{}]\n", flags.name, hash, scopes);
  if (!flags.expires.empty()) text += fmt::format("expires = \"{}\"\n", flags.expires);
  if (flags.requests_per_minute > 0) text += fmt::format("requests_per_minute = {}\n", flags.requests_per_minute);
  if (flags.tokens_per_minute > 0) text += fmt::format("tokens_per_minute = {}\n", flags.tokens_per_minute);
  return text;
}

Status AddKey(const KeyFlags& flags) {
  if (flags.name.find_first_of("\"\\\r\n") != std::string::npos) {
    return InvalidArgument("the name of a key has no quotes, backslashes and line breaks");
  }
  const std::filesystem::path file = flags.file.empty() ? ConfigDir() / "keys.toml" : std::filesystem::path(flags.file);
  LEM_ASSIGN_OR_RETURN(const std::string key, MakeKey());
  std::string text;
  std::error_code ignored;
  if (std::filesystem::exists(file, ignored)) {
    LEM_ASSIGN_OR_RETURN(text, ReadFile(file, kMaxFileBytes));
  }
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  text += Describe(flags, HashOfKey(key));
  // What is written must be what the server reads.
  LEM_TRY(ApiKeys::Parse(text, file.string()).status());
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path(), ignored);
  LEM_TRY(WriteFileAtomic(file, text));
  PrintLine(stdout, key);
  PrintLine(stderr, fmt::format("This is the only time it is shown; {} has its hash. Serve with --api-keys {}",
                                file.string(), file.string()));
  return OkStatus();
}

}  // namespace

void RegisterKey(CLI::App& app, Action& action) {
  auto flags = std::make_shared<KeyFlags>();  // shared by the parser and the action
  CLI::App* command = app.add_subcommand("key", "Keys for clients of the server");
  command->require_subcommand(1);
  CLI::App* add = command->add_subcommand("add", "Make a key, print it, and add its hash to the file of keys");
  add->add_option("name", flags->name, "What the audit log calls it")->required();
  add->add_option("--file", flags->file, "File of keys, instead of keys.toml beside lem.toml");
  add->add_option("--scope", flags->scopes, "inference, models (pull, delete) or admin (metrics, plans)");
  add->add_option("--expires", flags->expires, "Last moment: 2027-01-31 or 2027-01-31T12:00:00Z (UTC)");
  add->add_option("--requests-per-minute", flags->requests_per_minute, "0: no limit");
  add->add_option("--tokens-per-minute", flags->tokens_per_minute, "Prompts and answers; 0: no limit");
  add->callback([flags, &action] { action = [flags] { return Finish(AddKey(*flags)); }; });
}

}  // namespace lem
