#include "runtime/store/sqlite.h"

#include <sqlite3.h>

#include "base/check.h"

namespace lem {
namespace {

constexpr int kBusyTimeoutMs = 10'000;  // transactions here take milliseconds; more means a stuck process

Status SqliteError(sqlite3* database, int code) {
  const char* file = database ? sqlite3_db_filename(database, "main") : nullptr;
  const std::string text =
      fmt::format("database {}: {}", file ? file : "", database ? sqlite3_errmsg(database) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
      return DataLoss("{}", text);
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return ResourceExhausted("{}", text);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
      return PermissionDenied("{}", text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Unavailable("{}", text);
    default:
      return Internal("{}", text);
  }
}

}  // namespace

void SqliteStatement::Finalizer::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
void SqliteDatabase::Closer::operator()(sqlite3* database) const { sqlite3_close(database); }

SqliteStatement& SqliteStatement::Bind(int parameter_idx, std::string_view text) {
  const int code =
      sqlite3_bind_text64(statement_.get(), parameter_idx, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  LEM_CHECK(code == SQLITE_OK) << "parameter " << parameter_idx << ": " << sqlite3_errstr(code);
  return *this;
}

SqliteStatement& SqliteStatement::Bind(int parameter_idx, int64_t number) {
  const int code = sqlite3_bind_int64(statement_.get(), parameter_idx, number);
  LEM_CHECK(code == SQLITE_OK) << "parameter " << parameter_idx << ": " << sqlite3_errstr(code);
  return *this;
}

Result<bool> SqliteStatement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return SqliteError(sqlite3_db_handle(statement_.get()), code);
}

int64_t SqliteStatement::Int(int column_idx) const { return sqlite3_column_int64(statement_.get(), column_idx); }

std::string SqliteStatement::Text(int column_idx) const {
  const unsigned char* text = sqlite3_column_text(statement_.get(), column_idx);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text), static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column_idx))};
}

Result<SqliteDatabase> SqliteDatabase::Open(const std::filesystem::path& path) {
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  SqliteDatabase database(raw);  // closes it also when opening failed
  if (code != SQLITE_OK) return SqliteError(raw, code).WithContext(path.string());
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  // A damaged or hostile file must not be able to call functions through its schema.
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return database;
}

Status SqliteDatabase::Execute(const std::string& sql) {
  const int code = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? OkStatus() : SqliteError(database_.get(), code);
}

Result<SqliteStatement> SqliteDatabase::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(database_.get(), sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) return SqliteError(database_.get(), code);
  return SqliteStatement(statement);
}

}  // namespace lem
