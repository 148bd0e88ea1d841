#include "runtime/store/model_store.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/spelling.h"
#include "runtime/store/fetch.h"
#include "runtime/store/file_lock.h"

namespace lem {

namespace fs = std::filesystem;

namespace {

Result<std::vector<fs::path>> GgufFilesIn(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->path().extension() == ".gguf" && it->is_regular_file(ignored)) files.push_back(it->path());
  }
  if (error) return DiskError(error.value(), "list", folder);
  std::ranges::sort(files);
  return files;
}

Result<ModelRef> ResolvePath(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    LEM_TRY(FactsOf(path).status());
    return ModelRef{path.stem().string(), path};
  }
  LEM_ASSIGN_OR_RETURN(const std::vector<fs::path> files, GgufFilesIn(path));
  if (files.empty()) return NotFound("the folder {} holds no .gguf file", path.string());
  if (files.size() > 1) {
    std::vector<std::string> names;
    names.reserve(files.size());
    for (const fs::path& file : files) names.push_back(file.filename().string());
    return InvalidArgument("the folder {} holds {} .gguf files; name one of: {}", path.string(), files.size(),
                           fmt::join(names, ", "));
  }
  return ModelRef{files[0].stem().string(), files[0]};
}

}  // namespace

bool LooksLikePath(std::string_view text) {
  return text.find('/') != std::string_view::npos || text.ends_with(".gguf") || text == "." || text == "..";
}

StoreOptions StoreOptions::Default() {
  StoreOptions options;
  options.models_folder = DataDir() / "models";
  options.catalogue_file = ConfigDir() / "models.toml";
  return options;
}

Result<std::unique_ptr<ModelStore>> ModelStore::Open(StoreOptions options) {
  Result<std::string> own = ReadFile(options.catalogue_file);
  if (!own.ok()) {
    if (own.status().code() != StatusCode::kNotFound) return std::move(own).status();
    own = std::string();
  }
  LEM_ASSIGN_OR_RETURN(Catalogue catalogue, Catalogue::Create(*own, options.catalogue_file.string()));
  return std::unique_ptr<ModelStore>(new ModelStore(std::move(options), std::move(catalogue)));
}

Status ModelStore::OpenIndex() {
  LEM_TRY(MakeFolders(options_.models_folder));
  LEM_ASSIGN_OR_RETURN(ModelIndex index,
                       ModelIndex::Open(options_.models_folder / "index.sqlite", [this] { return ScanFiles(); }));
  index_.emplace(std::move(index));
  return OkStatus();
}

Result<std::vector<StoredModel>> ModelStore::ScanFiles() const {
  std::vector<StoredModel> found;
  LEM_ASSIGN_OR_RETURN(const std::vector<fs::path> files, GgufFilesIn(options_.models_folder));
  for (const fs::path& path : files) {
    StoredModel model;
    model.name = path.stem().string();
    model.file = path.filename().string();
    LEM_ASSIGN_OR_RETURN(const FileFacts facts, FactsOf(path));
    LEM_ASSIGN_OR_RETURN(model.sha256, Sha256HexOfFile(path));
    model.size_bytes = facts.size_bytes;
    model.mtime_ns = facts.mtime_ns;
    model.source = "found in the folder";
    model.pulled_at_unix_s = facts.mtime_ns / 1'000'000'000;
    for (const ModelEntry& entry : catalogue_.entries()) {
      if (entry.file == model.file && entry.sha256 == model.sha256) model.name = entry.name;
    }
    found.push_back(std::move(model));
  }
  return found;
}

fs::path ModelStore::PartialFolder(const std::string& sha256) const {
  return options_.models_folder / ".partial" / sha256;
}

std::string ModelStore::CanonicalName(std::string_view name) const {
  const ModelEntry* entry = catalogue_.Find(name);
  return entry ? entry->name : std::string(name);
}

Status ModelStore::UnknownModel(std::string_view name) {
  std::vector<std::string> known = catalogue_.Names();
  LEM_ASSIGN_OR_RETURN(const std::vector<StoredModel> stored, List());
  for (const StoredModel& model : stored) known.push_back(model.name);
  const std::string guess = DidYouMean(name, known);
  if (!guess.empty()) return NotFound("there is no model {}{}", name, guess);
  std::vector<std::string> names;
  for (const ModelEntry& entry : catalogue_.entries()) names.push_back(entry.name);
  for (const StoredModel& model : stored) {
    if (std::ranges::find(names, model.name) == names.end()) names.push_back(model.name);
  }
  return NotFound("there is no model {}; known are: {}. A model file can be named by its path", name,
                  fmt::join(names, ", "));
}

int64_t ModelStore::ChangeStamp() const {
  int64_t stamp = 0;
  for (const char* name : {"index.sqlite", "index.sqlite-wal"}) {
    const Result<FileFacts> facts = FactsOf(options_.models_folder / name);
    if (facts.ok()) stamp += facts->mtime_ns + static_cast<int64_t>(facts->size_bytes);
  }
  return stamp;
}

Result<std::vector<StoredModel>> ModelStore::List() {
  return WithIndex([](ModelIndex& index) { return index.List(); });
}

FileState ModelStore::StateOf(const StoredModel& model) const {
  const Result<FileFacts> facts = FactsOf(PathOf(model));
  if (!facts.ok()) return FileState::kMissing;
  const bool same = facts->size_bytes == model.size_bytes && facts->mtime_ns == model.mtime_ns;
  return same ? FileState::kIntact : FileState::kChanged;
}

Result<ModelRef> ModelStore::ResolveStored(const StoredModel& model) {
  const fs::path path = PathOf(model);
  switch (StateOf(model)) {
    case FileState::kIntact:
      break;
    case FileState::kMissing:
      return DataLoss("the file of {} is gone: {}. Get it again with: lem pull {}", model.name, path.string(),
                      model.name);
    case FileState::kChanged: {
      // Touched or restored from a backup is well; other bytes are not.
      LEM_ASSIGN_OR_RETURN(const FileFacts facts, FactsOf(path));
      LEM_ASSIGN_OR_RETURN(const std::string sha256, Sha256HexOfFile(path));
      if (sha256 != model.sha256) {
        return DataLoss(
            "{} has changed since it was pulled: {} bytes with SHA-256 {}, was {} bytes with {}. Get it again with: "
            "lem pull {}",
            path.string(), facts.size_bytes, sha256, model.size_bytes, model.sha256, model.name);
      }
      StoredModel updated = model;
      updated.mtime_ns = facts.mtime_ns;
      LEM_TRY(WithIndex([&](ModelIndex& index) { return index.Put(updated); }));
      break;
    }
  }
  return ModelRef{model.name, path};
}

Result<ModelRef> ModelStore::Resolve(std::string_view name_or_path) {
  if (name_or_path.empty()) return InvalidArgument("the name of the model is empty");
  if (LooksLikePath(name_or_path)) return ResolvePath(ExpandHome(std::string(name_or_path)));
  const std::string name = CanonicalName(name_or_path);
  LEM_ASSIGN_OR_RETURN(const std::optional<StoredModel> stored,
                       WithIndex([&](ModelIndex& index) { return index.Find(name); }));
  if (stored.has_value()) return ResolveStored(*stored);
  std::error_code error;
  if (fs::exists(fs::path(name_or_path), error)) return ResolvePath(fs::path(name_or_path));
  if (const ModelEntry* entry = catalogue_.Find(name)) {
    return NotFound("{} is not on this machine yet ({} MB). Get it with: lem pull {}", entry->name,
                    (entry->size_bytes + 500'000) / 1'000'000, entry->name);
  }
  return UnknownModel(name_or_path);
}

Result<StoredModel> ModelStore::Remove(std::string_view alias) {
  const std::string name = CanonicalName(alias);
  LEM_ASSIGN_OR_RETURN(std::optional<StoredModel> stored,
                       WithIndex([&](ModelIndex& index) { return index.Find(name); }));
  const ModelEntry* entry = catalogue_.Find(name);
  std::error_code error;
  const bool has_partial = entry != nullptr && fs::exists(PartialFolder(entry->sha256), error);
  // A file that a pull had finished when it was killed, not yet in the index.
  const bool has_file = entry != nullptr && fs::exists(options_.models_folder / entry->file, error);
  if (!stored.has_value() && !has_partial && !has_file) {
    if (entry != nullptr) return NotFound("{} is not on this machine", entry->name);
    return UnknownModel(alias);
  }
  if (has_partial) {
    CancelToken at_once;
    at_once.Cancel();
    const fs::path folder = PartialFolder(entry->sha256);
    const Result<FileLock> lock = FileLock::Acquire(folder / "lock", at_once, {});
    if (!lock.ok() && lock.status().code() == StatusCode::kCancelled) {
      return Aborted("{} is being pulled by another process; stop that one first", name);
    }
    fs::remove_all(folder, error);
    if (error) return DiskError(error.value(), "remove", folder);
  }
  if (!stored.has_value()) {
    stored.emplace();
    stored->name = name;
    stored->file = entry->file;
  }
  // The index first: never is there an entry without its file.
  LEM_TRY(WithIndex([&](ModelIndex& index) { return index.Remove(name); }));
  const fs::path path = PathOf(*stored);
  fs::remove(path, error);
  if (error) return DiskError(error.value(), "remove", path);
  return *stored;
}

}  // namespace lem
