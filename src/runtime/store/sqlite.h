// SQLite behind RAII and Status. A Database and its Statements are used by one thread at a time; a Database outlives
// its Statements.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace lem {

class SqliteStatement {
 public:
  // Parameters count from 1. REQUIRES: the index exists in the SQL.
  SqliteStatement& Bind(int parameter_idx, std::string_view text);
  SqliteStatement& Bind(int parameter_idx, int64_t number);
  // True: a row is there to read. False: done.
  Result<bool> Step();
  // Columns count from 0. REQUIRES: Step has just returned true.
  int64_t Int(int column_idx) const;
  std::string Text(int column_idx) const;

 private:
  friend class SqliteDatabase;
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  explicit SqliteStatement(sqlite3_stmt* statement) : statement_(statement) {}
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
};

class SqliteDatabase {
 public:
  // Opens or creates. Errors, of all calls: DataLoss (the file is not an intact database), ResourceExhausted (disk
  // full), PermissionDenied, Unavailable (another process has held it for 10 s), Internal.
  static Result<SqliteDatabase> Open(const std::filesystem::path& path);

  // Runs statements that give no rows worth reading.
  Status Execute(const std::string& sql);
  Result<SqliteStatement> Prepare(std::string_view sql);

 private:
  struct Closer {
    void operator()(sqlite3* database) const;
  };
  explicit SqliteDatabase(sqlite3* database) : database_(database) {}
  std::unique_ptr<sqlite3, Closer> database_;
};

}  // namespace lem
