#include "runtime/store/index.h"

#include <utility>

#include "base/log.h"
#include "runtime/store/file_lock.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSchemaVersion = 1;  // kept in PRAGMA user_version; 0 is a database not made yet

constexpr char kSchema[] =
    "CREATE TABLE models ("
    " name TEXT PRIMARY KEY NOT NULL, file TEXT UNIQUE NOT NULL, size_bytes INTEGER NOT NULL,"
    " mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL, source TEXT NOT NULL, pulled_at_unix_s INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

constexpr char kColumns[] = "name, file, size_bytes, mtime_ns, sha256, source, pulled_at_unix_s";

struct OpenedDatabase {
  SqliteDatabase database;
  int64_t version;
};

Result<OpenedDatabase> OpenAndCheck(const fs::path& path) {
  LEM_ASSIGN_OR_RETURN(SqliteDatabase database, SqliteDatabase::Open(path));
  LEM_TRY(database.Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"));
  int64_t version = 0;
  {
    LEM_ASSIGN_OR_RETURN(SqliteStatement check, database.Prepare("PRAGMA quick_check(1)"));
    LEM_ASSIGN_OR_RETURN(const bool has_row, check.Step());
    if (!has_row || check.Text(0) != "ok") return DataLoss("database {} is damaged", path.string());
    LEM_ASSIGN_OR_RETURN(SqliteStatement pragma, database.Prepare("PRAGMA user_version"));
    LEM_ASSIGN_OR_RETURN(const bool has_version, pragma.Step());
    if (has_version) version = pragma.Int(0);
  }
  if (version > kSchemaVersion) {
    return FailedPrecondition("{} was made by a newer program (format {}; this one reads {}): update lem",
                              path.string(), version, kSchemaVersion);
  }
  return OpenedDatabase{std::move(database), version};
}

StoredModel RowOf(const SqliteStatement& statement) {
  StoredModel model;
  model.name = statement.Text(0);
  model.file = statement.Text(1);
  model.size_bytes = static_cast<uint64_t>(statement.Int(2));
  model.mtime_ns = statement.Int(3);
  model.sha256 = statement.Text(4);
  model.source = statement.Text(5);
  model.pulled_at_unix_s = statement.Int(6);
  return model;
}

}  // namespace

Result<ModelIndex> ModelIndex::Open(const fs::path& path, const Scan& scan) {
  Result<OpenedDatabase> opened = OpenAndCheck(path);
  if (opened.ok() && opened->version == kSchemaVersion) return ModelIndex(std::move(opened->database));
  if (!opened.ok() && opened.status().code() != StatusCode::kDataLoss) return std::move(opened).status();

  // Whoever has the lock makes the index; those who wait find it made.
  LEM_ASSIGN_OR_RETURN(const FileLock lock, FileLock::Acquire(path.parent_path() / ".index.lock", CancelToken(), {}));
  opened = OpenAndCheck(path);
  if (!opened.ok()) {
    if (opened.status().code() != StatusCode::kDataLoss) return std::move(opened).status();
    const fs::path aside = path.string() + ".broken";
    LogWarning("{}; it is kept as {} and made anew from the files", opened.status().message(), aside.string());
    std::error_code error;
    fs::rename(path, aside, error);
    if (error) return Internal("cannot rename {} to {}: {}", path.string(), aside.string(), error.message());
    for (const char* suffix : {"-wal", "-shm"}) fs::remove(path.string() + suffix, error);
    opened = OpenAndCheck(path);
    if (!opened.ok()) return std::move(opened).status();
  }
  ModelIndex index(std::move(opened->database));
  if (opened->version == kSchemaVersion) return index;
  LEM_ASSIGN_OR_RETURN(const std::vector<StoredModel> found, scan());
  LEM_TRY(index.database_.Execute("BEGIN IMMEDIATE"));
  LEM_TRY(index.database_.Execute(kSchema));
  for (const StoredModel& model : found) LEM_TRY(index.Put(model));
  LEM_TRY(index.database_.Execute("COMMIT"));
  return index;
}

Status ModelIndex::Put(const StoredModel& model) {
  LEM_ASSIGN_OR_RETURN(
      SqliteStatement insert,
      database_.Prepare(fmt::format("INSERT OR REPLACE INTO models ({}) VALUES (?, ?, ?, ?, ?, ?, ?)", kColumns)));
  insert.Bind(1, model.name).Bind(2, model.file).Bind(3, static_cast<int64_t>(model.size_bytes));
  insert.Bind(4, model.mtime_ns).Bind(5, model.sha256).Bind(6, model.source).Bind(7, model.pulled_at_unix_s);
  return insert.Step().status();
}

Status ModelIndex::Remove(std::string_view name) {
  LEM_ASSIGN_OR_RETURN(SqliteStatement remove, database_.Prepare("DELETE FROM models WHERE name = ?"));
  return remove.Bind(1, name).Step().status();
}

Result<std::optional<StoredModel>> ModelIndex::Find(std::string_view name) {
  LEM_ASSIGN_OR_RETURN(SqliteStatement select,
                       database_.Prepare(fmt::format("SELECT {} FROM models WHERE name = ?", kColumns)));
  LEM_ASSIGN_OR_RETURN(const bool found, select.Bind(1, name).Step());
  if (!found) return std::optional<StoredModel>();
  return std::optional<StoredModel>(RowOf(select));
}

Result<std::vector<StoredModel>> ModelIndex::List() {
  LEM_ASSIGN_OR_RETURN(SqliteStatement select,
                       database_.Prepare(fmt::format("SELECT {} FROM models ORDER BY name", kColumns)));
  std::vector<StoredModel> models;
  while (true) {
    LEM_ASSIGN_OR_RETURN(const bool found, select.Step());
    if (!found) return models;
    models.push_back(RowOf(select));
  }
}

}  // namespace lem
