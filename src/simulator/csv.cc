#include "simulator/csv.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ranges>

namespace lem {
namespace {

std::vector<std::string> SplitCells(std::string_view line) {
  std::vector<std::string> cells;
  for (const auto cell : std::views::split(line, ',')) {
    std::string_view text(cell.begin(), cell.end());
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    cells.emplace_back(text);
  }
  return cells;
}

// What a terminal may be shown of a cell.
std::string Shown(std::string_view cell) {
  std::string text(cell.substr(0, 40));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

}  // namespace

Result<CsvTable> CsvTable::Parse(std::string_view text, std::string name, const std::vector<std::string>& required) {
  CsvTable table;
  table.name_ = std::move(name);
  if (text.size() > kMaxBytes) {
    return InvalidArgument("{} has {} bytes; allowed: {}", table.name_, text.size(), kMaxBytes);
  }
  size_t line_number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    std::vector<std::string> cells = SplitCells(line);
    if (cells.size() > kMaxColumns || std::ranges::any_of(cells, [](const auto& c) { return c.size() > kMaxCell; })) {
      return InvalidArgument("{}, line {}: {} cells; allowed: {} of {} characters each", table.name_, line_number,
                             cells.size(), kMaxColumns, kMaxCell);
    }
    if (table.columns_.empty()) {
      table.columns_ = std::move(cells);
      continue;
    }
    if (cells.size() != table.columns_.size()) {
      return InvalidArgument("{}, line {}: {} cells; the header has {} columns", table.name_, line_number, cells.size(),
                             table.columns_.size());
    }
    if (table.rows_.size() == kMaxRows) {
      return InvalidArgument("{} has more than {} rows, which is the most allowed", table.name_, kMaxRows);
    }
    table.rows_.push_back({line_number, std::move(cells)});
  }
  for (const std::string& column : required) {
    if (std::ranges::count(table.columns_, column) != 1) {
      return InvalidArgument("{}: column '{}' must be in the header once; needed: {}", table.name_, column,
                             fmt::join(required, ", "));
    }
  }
  return table;
}

std::string_view CsvTable::Text(size_t row, std::string_view column) const {
  const auto found = std::ranges::find(columns_, column);
  if (found == columns_.end()) return {};
  return rows_[row].cells[static_cast<size_t>(found - columns_.begin())];
}

Result<std::optional<double>> CsvTable::Number(size_t row, std::string_view column) const {
  const std::string_view text = Text(row, column);
  if (text.empty()) return std::optional<double>();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || value < 0) {
    return InvalidArgument("{}: {} is '{}'; it must be a number, 0 or more, or empty", Where(row), column, Shown(text));
  }
  return std::optional<double>(value);
}

std::string CsvTable::Where(size_t row) const { return fmt::format("{}, line {}", name_, rows_[row].line); }

}  // namespace lem
