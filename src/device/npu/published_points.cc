#include "device/npu/published_points.h"

#include <charconv>
#include <map>

#include "base/check.h"
#include "base/embedded_file.h"

LEM_EMBED_FILE(kPointsGemm, char, LEM_NPU_POINTS_FOLDER "/npu_gemm.csv")
LEM_EMBED_FILE(kPointsSingleCore, char, LEM_NPU_POINTS_FOLDER "/npu_single_core.csv")
LEM_EMBED_FILE(kPointsLlm, char, LEM_PUBLISHED_FOLDER "/llm_points.csv")

namespace lem {
namespace {

using Row = std::map<std::string, std::string, std::less<>>;

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back().push_back(c);
    }
  }
  return parts;
}

std::vector<Row> ReadCsv(const char* begin, const char* end) {
  std::vector<std::string> keys;
  std::vector<Row> rows;
  for (const std::string& line : Split({begin, static_cast<size_t>(end - begin)}, '\n')) {
    if (line.empty() || line.front() == '#') continue;
    const std::vector<std::string> cells = Split(line, ',');
    if (keys.empty()) {
      keys = cells;
      continue;
    }
    LEM_CHECK(cells.size() == keys.size()) << line;
    Row& row = rows.emplace_back();
    for (size_t i = 0; i < keys.size(); ++i) row[keys[i]] = cells[i];
  }
  return rows;
}

double Number(const Row& row, std::string_view key) {
  const auto found = row.find(key);
  if (found == row.end()) return 0;
  double value = 0;
  std::from_chars(found->second.data(), found->second.data() + found->second.size(), value);
  return value;
}
int64_t Int(const Row& row, std::string_view key) { return static_cast<int64_t>(Number(row, key)); }

std::vector<PublishedGemm> Gemms(const std::vector<Row>& rows) {
  std::vector<PublishedGemm> points;
  for (const Row& row : rows) {
    PublishedGemm& point = points.emplace_back();
    point.generation = row.at("generation");
    point.config.in = *ParseNpuType(row.at("input_dtype"));
    point.config.out = *ParseNpuType(row.at("output_dtype"));
    point.config.tile = {Int(row, "tile_m"), Int(row, "tile_k"), Int(row, "tile_n")};
    point.config.shape = {Int(row, "M"), Int(row, "K"), Int(row, "N")};
    point.macs_per_cycle = Number(row, "mac_per_cycle");
    point.tops = Number(row, "tops");
  }
  return points;
}

}  // namespace

const std::vector<PublishedGemm>& PublishedGemms() {
  static const std::vector<PublishedGemm> kPoints = Gemms(ReadCsv(kPointsGemm, kPointsGemmEnd));
  return kPoints;
}

const std::vector<PublishedGemm>& PublishedSingleCores() {
  static const std::vector<PublishedGemm> kPoints = Gemms(ReadCsv(kPointsSingleCore, kPointsSingleCoreEnd));
  return kPoints;
}

const std::vector<PublishedLlm>& PublishedLlms() {
  static const std::vector<PublishedLlm> kPoints = [] {
    std::vector<PublishedLlm> points;
    for (const Row& row : ReadCsv(kPointsLlm, kPointsLlmEnd)) {
      if (row.at("device") != "npu") continue;
      points.push_back({row.at("soc"), row.at("engine"), row.at("model"), row.at("phase"), Int(row, "context"),
                        Number(row, "tokens_per_s"), row.at("fit") == "1"});
    }
    return points;
  }();
  return kPoints;
}

}  // namespace lem
