// The models on this machine: pulls them from their sources, lists, finds and removes them.
//
//   <models>/SmolLM2-135M-Instruct.Q4_1.gguf   finished files, as downloaded
//   <models>/index.sqlite                      what is in the store: written last (index.h)
//   <models>/.partial/<sha256>/                downloads under way or broken off (partial_file.h)
//
// Thread-safe; several processes may use one store. A pull may be killed at any moment: the next one goes on from
// there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "request/request.h"
#include "runtime/store/catalogue.h"
#include "runtime/store/disk.h"
#include "runtime/store/index.h"

namespace lem {

struct StoreOptions {
  std::filesystem::path models_folder;   // made when it is first needed
  std::filesystem::path catalogue_file;  // the user's models.toml; need not exist
  std::string python = "python3";        // program that has pip
  Disk* disk = &Disk::Real();            // outlives the store

  // <DataDir>/models and <ConfigDir>/models.toml.
  static StoreOptions Default();
};

// A model to load.
struct ModelRef {
  std::string id;  // name in the store, or the stem of a file
  std::filesystem::path path;
};

struct PullProgress {
  enum class Phase {
    kWaiting,      // another process is pulling the same model
    kChecking,     // hashing what is there already
    kDownloading,  // or copying
    kVerifying,    // hashing what came
  };
  Phase phase = Phase::kChecking;
  std::string source;  // of kDownloading
  uint64_t done_bytes = 0, total_bytes = 0;
};

// Called on the thread that pulls; both may be empty.
struct PullObserver {
  std::function<void(const PullProgress&)> on_progress;
  std::function<void(const std::string&)> on_note;  // a line for people: a source failed and the next one is tried
};

struct PullResult {
  StoredModel model;
  bool was_there = false;  // nothing had to be fetched
};

enum class FileState { kIntact, kMissing, kChanged };

// True for what Resolve and Pull take for a path without looking for a model of that name: "./x", "x.gguf", ".".
bool LooksLikePath(std::string_view text);

class ModelStore {
 public:
  // Reads the catalogue. Errors: InvalidArgument (models.toml: with line and column), PermissionDenied.
  static Result<std::unique_ptr<ModelStore>> Open(StoreOptions options = StoreOptions::Default());

  const Catalogue& catalogue() const { return catalogue_; }
  const std::filesystem::path& models_folder() const { return options_.models_folder; }
  std::filesystem::path PathOf(const StoredModel& model) const { return options_.models_folder / model.file; }

  Result<std::vector<StoredModel>> List();
  // Another number after every change of what List tells, whoever made it.
  int64_t ChangeStamp() const;
  // By size and time of change, without reading the file.
  FileState StateOf(const StoredModel& model) const;

  // Finds a model in the store by name or alias, or a .gguf file, or a folder that holds exactly one. A file of the
  // store whose size or time has changed is hashed again. Errors: NotFound (with what to do, or similar names),
  // InvalidArgument (several files in the folder), DataLoss (the file is not what was pulled).
  Result<ModelRef> Resolve(std::string_view name_or_path);

  // Brings a model of the catalogue, or a copy of a local file, into the store. Errors: NotFound (unknown name, with
  // similar ones), ResourceExhausted (disk full: bytes free and needed), AlreadyExists (another model has the name),
  // Cancelled, DataLoss (wrong hash: both hashes), Unavailable (every source failed: each with its reason).
  Result<PullResult> Pull(std::string_view name_or_path, const PullObserver& observer, const CancelToken& cancel);

  // Removes a model and what an unfinished pull has left of it. Errors: NotFound (with similar names), Aborted (it is
  // being pulled).
  Result<StoredModel> Remove(std::string_view name);

 private:
  friend class Puller;
  ModelStore(StoreOptions options, Catalogue catalogue)
      : options_(std::move(options)), catalogue_(std::move(catalogue)) {}

  // Calls `use` with the open index, one caller at a time.
  template <typename Use>
  auto WithIndex(Use&& use) -> decltype(use(std::declval<ModelIndex&>())) {
    const std::lock_guard<std::mutex> guard(index_mutex_);
    if (!index_.has_value()) LEM_TRY(OpenIndex());
    auto result = use(*index_);
    if (!result.ok()) index_.reset();  // perhaps damaged: the next call opens it, or makes it anew
    return result;
  }
  Status OpenIndex();
  // What the files say, for an index that was lost.
  Result<std::vector<StoredModel>> ScanFiles() const;

  std::filesystem::path PartialFolder(const std::string& sha256) const;
  // The canonical name of an alias; the name itself if it is none.
  std::string CanonicalName(std::string_view name) const;
  Status UnknownModel(std::string_view name);
  Result<ModelRef> ResolveStored(const StoredModel& model);

  const StoreOptions options_;
  const Catalogue catalogue_;
  std::mutex index_mutex_;
  std::optional<ModelIndex> index_;  // guarded by index_mutex_; opened at first use
};

}  // namespace lem
