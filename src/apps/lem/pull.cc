// lem pull NAME|FILE...: brings models into the store.
#include <memory>

#include "apps/lem/commands.h"
#include "apps/lem/progress_line.h"
#include "apps/lem/terminal.h"
#include "base/json.h"
#include "runtime/store/model_store.h"

namespace lem {
namespace {

struct PullFlags {
  std::vector<std::string> models;
  bool quiet = false;
  bool json = false;
};

Result<PullResult> PullOne(ModelStore& store, const std::string& name, const PullFlags& flags) {
  ProgressLine line;
  PullObserver observer;
  if (!flags.quiet) observer.on_progress = [&](const PullProgress& progress) { line.Show(progress); };
  observer.on_note = [&](const std::string& note) { line.Note(note); };
  return store.Pull(name, observer, CancelOnInterrupt());
}

void Print(const ModelStore& store, const PullResult& result, bool json) {
  const StoredModel& model = result.model;
  if (json) {
    JsonWriter out;
    out.BeginObject().Key("name").String(model.name).Key("path").String(store.PathOf(model).string());
    out.Key("size_bytes").UInt(model.size_bytes).Key("sha256").String(model.sha256);
    out.Key("source").String(model.source).Key("was_there").Bool(result.was_there).EndObject();
    PrintLine(stdout, out.text());
    return;
  }
  const ModelEntry* entry = store.catalogue().Find(model.name);
  const std::string license = entry && !entry->license.empty() ? fmt::format(", {}", entry->license) : "";
  PrintLine(stdout, fmt::format("{} {}: {} ({}{})", model.name, result.was_there ? "is here already" : "is ready",
                                store.PathOf(model).string(), FormatBytes(model.size_bytes), license));
}

Status Pull(const PullFlags& flags) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelStore> store, ModelStore::Open());
  for (const std::string& name : flags.models) {
    LEM_ASSIGN_OR_RETURN(const PullResult result, PullOne(*store, name, flags));
    Print(*store, result, flags.json);
  }
  return OkStatus();
}

}  // namespace

void RegisterPull(CLI::App& app, Action& action) {
  auto flags = std::make_shared<PullFlags>();  // shared by the parser and the action
  CLI::App* command = app.add_subcommand("pull", "Download models, or copy model files, into the store");
  command->add_option("model", flags->models, "Name (see lem list --all) or path of a .gguf file")->required();
  command->add_flag("-q,--quiet", flags->quiet, "Show no progress");
  command->add_flag("--json", flags->json, "Print one JSON object for each model");
  command->callback([flags, &action] { action = [flags] { return Finish(Pull(*flags)); }; });
}

}  // namespace lem
