// Tables of comma-separated values as files of measurements have them: a header line, one row a line, lines that begin
// with '#' left out. No quotes: a cell holds no comma.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lem {

class CsvTable {
 public:
  static constexpr size_t kMaxBytes = size_t{1} << 20;
  static constexpr size_t kMaxRows = 10'000;
  static constexpr size_t kMaxColumns = 64;
  static constexpr size_t kMaxCell = 512;

  // `name` is the file's, for errors. Errors: InvalidArgument with line, and what was found and is allowed; columns of
  // `required` that are missing are named.
  static Result<CsvTable> Parse(std::string_view text, std::string name, const std::vector<std::string>& required);

  size_t num_rows() const { return rows_.size(); }
  // Empty if there is no such column. REQUIRES: row < num_rows().
  std::string_view Text(size_t row, std::string_view column) const;
  // nullopt for an empty cell. Errors: InvalidArgument (no finite number >= 0), with line and column.
  Result<std::optional<double>> Number(size_t row, std::string_view column) const;
  // "soc_profiles.csv, line 7"
  std::string Where(size_t row) const;

 private:
  struct Row {
    size_t line = 0;
    std::vector<std::string> cells;
  };
  std::string name_;
  std::vector<std::string> columns_;
  std::vector<Row> rows_;
};

}  // namespace lem
