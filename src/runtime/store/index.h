// What the store holds: a table in <models>/index.sqlite. A model is in the store when it is in here, and it comes in
// last; the table can be made anew from the files. Used by one thread at a time; processes exclude each other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "runtime/store/sqlite.h"

namespace lem {

struct StoredModel {
  std::string name;  // "smollm2:135m"
  std::string file;  // in the models folder
  uint64_t size_bytes = 0;
  int64_t mtime_ns = 0;  // of the file when it was last known to be intact
  std::string sha256;
  std::string source;  // where it came from, for people
  int64_t pulled_at_unix_s = 0;
};

class ModelIndex {
 public:
  // Lists the files that are there, for an index that has to be made anew.
  using Scan = std::function<Result<std::vector<StoredModel>>()>;

  // Opens; if there is none, or it is damaged, makes it from what `scan` finds. A damaged one is kept as *.broken.
  // Errors: FailedPrecondition (made by a newer program), those of SqliteDatabase and of `scan`.
  static Result<ModelIndex> Open(const std::filesystem::path& path, const Scan& scan);

  // Adds, or replaces the model of that name.
  Status Put(const StoredModel& model);
  // No error if there is none.
  Status Remove(std::string_view name);
  Result<std::optional<StoredModel>> Find(std::string_view name);
  // By name.
  Result<std::vector<StoredModel>> List();

 private:
  explicit ModelIndex(SqliteDatabase database) : database_(std::move(database)) {}
  SqliteDatabase database_;
};

}  // namespace lem
