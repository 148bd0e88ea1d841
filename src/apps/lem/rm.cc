// lem rm NAME...: removes models from the store.
#include <memory>

#include "apps/lem/commands.h"
#include "apps/lem/terminal.h"
#include "runtime/store/model_store.h"

namespace lem {
namespace {

Status Remove(const std::vector<std::string>& names) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelStore> store, ModelStore::Open());
  for (const std::string& name : names) {
    LEM_ASSIGN_OR_RETURN(const StoredModel removed, store->Remove(name));
    const std::string size = removed.size_bytes > 0 ? FormatBytes(removed.size_bytes) : "an unfinished download";
    PrintLine(stdout, fmt::format("removed {} ({})", removed.name, size));
  }
  return OkStatus();
}

}  // namespace

void RegisterRm(CLI::App& app, Action& action) {
  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("rm", "Remove models from the store");
  command->add_option("model", *names, "Name of a model in the store")->required();
  command->callback([names, &action] { action = [names] { return Finish(Remove(*names)); }; });
}

}  // namespace lem
