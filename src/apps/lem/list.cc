// lem list: the models in the store and, with --all, those that could be pulled.
#include <algorithm>
#include <memory>

#include "apps/lem/commands.h"
#include "apps/lem/terminal.h"
#include "base/json.h"
#include "runtime/store/model_store.h"

namespace lem {
namespace {

struct ListFlags {
  bool all = false;
  bool json = false;
};

std::string_view StateName(FileState state) {
  switch (state) {
    case FileState::kIntact:
      return "ready";
    case FileState::kMissing:
      return "missing";
    case FileState::kChanged:
      return "changed";
  }
  return "";
}

// Those of the catalogue that are not in the store.
std::vector<ModelEntry> Available(const ModelStore& store, const std::vector<StoredModel>& stored) {
  std::vector<ModelEntry> out;
  for (const ModelEntry& entry : store.catalogue().entries()) {
    if (std::ranges::find(stored, entry.name, &StoredModel::name) == stored.end()) out.push_back(entry);
  }
  return out;
}

void PrintJson(const ModelStore& store, const std::vector<StoredModel>& stored,
               const std::vector<ModelEntry>& available) {
  JsonWriter out;
  out.BeginObject().Key("models").BeginArray();
  for (const StoredModel& model : stored) {
    out.BeginObject().Key("name").String(model.name).Key("path").String(store.PathOf(model).string());
    out.Key("size_bytes").UInt(model.size_bytes).Key("sha256").String(model.sha256);
    out.Key("source").String(model.source).Key("pulled_at").String(FormatTimeUtc(model.pulled_at_unix_s));
    out.Key("state").String(StateName(store.StateOf(model))).EndObject();
  }
  out.EndArray().Key("available").BeginArray();
  for (const ModelEntry& entry : available) {
    out.BeginObject().Key("name").String(entry.name).Key("aliases").BeginArray();
    for (const std::string& alias : entry.aliases) out.String(alias);
    out.EndArray().Key("description").String(entry.description).Key("license").String(entry.license);
    out.Key("size_bytes").UInt(entry.size_bytes).Key("sha256").String(entry.sha256).EndObject();
  }
  out.EndArray().EndObject();
  PrintLine(stdout, out.text());
}

// Columns as wide as their widest cell; the last one is left as it is.
void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (size_t i = 0; i + 1 < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    PrintLine(stdout, line + row.back());
  }
}

Status List(const ListFlags& flags) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelStore> store, ModelStore::Open());
  LEM_ASSIGN_OR_RETURN(const std::vector<StoredModel> stored, store->List());
  const std::vector<ModelEntry> available = flags.all ? Available(*store, stored) : std::vector<ModelEntry>();
  if (flags.json) {
    PrintJson(*store, stored, available);
    return OkStatus();
  }
  if (stored.empty() && !flags.all) {
    PrintLine(stderr, "No models yet. Get one with: lem pull smollm2:135m (lem list --all shows what there is)");
    return OkStatus();
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "SIZE", "PULLED", "STATE"}};
  for (const StoredModel& model : stored) {
    rows.push_back({model.name, FormatBytes(model.size_bytes), FormatAge(model.pulled_at_unix_s),
                    std::string(StateName(store->StateOf(model)))});
  }
  for (const ModelEntry& entry : available) {
    rows.push_back({entry.name, FormatBytes(entry.size_bytes), "-", "can be pulled: " + entry.description});
  }
  PrintTable(rows);
  return OkStatus();
}

}  // namespace

void RegisterList(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ListFlags>();
  CLI::App* command = app.add_subcommand("list", "List the models in the store")->alias("ls");
  command->add_flag("-a,--all", flags->all, "Also those that can be pulled");
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return Finish(List(*flags)); }; });
}

}  // namespace lem
