#include "device/npu/emulator/npu_generation.h"

#include <cmath>

#include "base/check.h"
#include "base/embedded_file.h"
#include "base/json.h"

LEM_EMBED_FILE(kNpuXdna, char, LEM_NPU_DATA_FOLDER "/xdna.json")
LEM_EMBED_FILE(kNpuXdna2, char, LEM_NPU_DATA_FOLDER "/xdna2.json")

namespace lem {
namespace {

constexpr std::array<std::string_view, kNumNpuTypes> kTypeNames = {"i8", "i16", "i32", "bf16", "f32"};
constexpr std::array<int64_t, kNumNpuTypes> kTypeBytes = {1, 2, 4, 2, 4};

// Reads keys of one object and remembers the first that is not as it should be.
class Fields {
 public:
  explicit Fields(const JsonObject& object) : object_(object) {}

  double Number(std::string_view key) { return NumberOf(object_.if_contains(key), key); }
  int64_t Int(std::string_view key) {
    const double value = Number(key);
    if (value < 1 || value > 1e15 || value != std::floor(value)) Fail(key, "a whole number above 0");
    return status_.ok() ? static_cast<int64_t>(value) : 0;
  }
  std::string String(std::string_view key) {
    const JsonValue* value = object_.if_contains(key);
    if (value == nullptr || !value->is_string()) return Fail(key, "a text"), "";
    return std::string(value->get_string());
  }
  const JsonObject& Object(std::string_view key) {
    static const JsonObject kEmpty;
    const JsonValue* value = object_.if_contains(key);
    if (value == nullptr || !value->is_object()) return Fail(key, "an object"), kEmpty;
    return value->get_object();
  }
  double NumberOf(const JsonValue* value, std::string_view key) {
    if (value == nullptr || !value->is_number()) return Fail(key, "a number"), 0;
    const auto number = value->to_number<double>();
    if (!std::isfinite(number) || number < 0) return Fail(key, "a number of at least 0"), 0;
    return number;
  }
  void Fail(std::string_view key, std::string_view wanted) {
    if (status_.ok()) status_ = InvalidArgument("NPU parameters: '{}' must be {}", key, wanted);
  }
  const Status& status() const { return status_; }

 private:
  const JsonObject& object_;
  Status status_;
};

std::array<double, kNumNpuTypes> ByType(Fields& fields, std::string_view key) {
  std::array<double, kNumNpuTypes> values{};
  for (const auto& [name, value] : fields.Object(key)) {
    const Result<NpuType> type = ParseNpuType(name);
    if (!type.ok()) return fields.Fail(key, "an object by element type"), values;
    values[static_cast<size_t>(*type)] = fields.NumberOf(&value, key);
  }
  return values;
}

void ReadCCycles(Fields& fields, NpuGeneration& generation) {
  for (const auto& [name, value] : fields.Object("c_cycles")) {
    const std::string_view pair = name;
    const size_t dash = pair.find('-');
    const Result<NpuType> in = ParseNpuType(pair.substr(0, dash));
    const Result<NpuType> out = ParseNpuType(dash == std::string_view::npos ? "" : pair.substr(dash + 1));
    if (!in.ok() || !out.ok()) return fields.Fail("c_cycles", "an object by 'input-output' types");
    generation.c_cycles[static_cast<size_t>(*in)][static_cast<size_t>(*out)] = fields.NumberOf(&value, "c_cycles");
  }
}

void ReadGranules(Fields& fields, NpuGeneration& generation) {
  for (const auto& [name, value] : fields.Object("granule")) {
    const Result<NpuType> type = ParseNpuType(name);
    if (!type.ok() || !value.is_array() || value.get_array().size() != 3) {
      return fields.Fail("granule", "lists of three numbers by element type");
    }
    for (size_t i = 0; i < 3; ++i) {
      const double number = fields.NumberOf(&value.get_array()[i], "granule");
      if (number < 1 || number > 1024) return fields.Fail("granule", "numbers from 1 to 1024");
      generation.granule[static_cast<size_t>(*type)][i] = static_cast<int64_t>(number);
    }
  }
}

}  // namespace

int64_t NpuTypeBytes(NpuType type) { return kTypeBytes[static_cast<size_t>(type)]; }
std::string_view NpuTypeName(NpuType type) { return kTypeNames[static_cast<size_t>(type)]; }

Result<NpuType> ParseNpuType(std::string_view name) {
  for (size_t i = 0; i < kNumNpuTypes; ++i) {
    if (kTypeNames[i] == name) return static_cast<NpuType>(i);
  }
  return InvalidArgument("'{}' is no element type of an NPU; allowed: {}", name, fmt::join(kTypeNames, ", "));
}

Result<NpuGeneration> ParseNpuGeneration(std::string_view json) {
  LEM_ASSIGN_OR_RETURN(const JsonValue document, ParseJson(json));
  if (!document.is_object()) return InvalidArgument("NPU parameters: the document must be an object");
  Fields fields(document.get_object());
  NpuGeneration g;
  g.id = fields.String("generation");
  g.name = fields.String("name");
  g.rows = fields.Int("rows");
  g.columns = fields.Int("columns");
  g.clock_hz = fields.Number("clock_hz");
  g.l1_bytes = fields.Int("l1_bytes");
  g.l1_reserved_bytes = fields.Int("l1_reserved_bytes");
  g.memtile_bytes = fields.Int("memtile_bytes");
  g.stream_bytes_per_cycle = fields.Int("stream_bytes_per_cycle");
  g.shim_descriptors = fields.Int("shim_descriptors");
  g.memtile_descriptors = fields.Int("memtile_descriptors");
  g.core_dma_dims = fields.Int("core_dma_dims");
  g.memtile_dma_dims = fields.Int("memtile_dma_dims");
  g.dma_granule_bytes = fields.Int("dma_granule_bytes");
  g.burst_bytes = fields.Int("burst_bytes");
  g.max_contexts = fields.Int("max_contexts");
  g.vector_lanes_f32 = fields.Int("vector_lanes_f32");
  g.macs_per_cycle = ByType(fields, "macs_per_cycle");
  ReadCCycles(fields, g);
  ReadGranules(fields, g);
  g.unpack_weights_per_cycle = fields.Number("unpack_weights_per_cycle");
  Fields vector(fields.Object("vector_cycles"));
  g.multiply_add_cycles = vector.Number("multiply_add");
  g.exp_cycles = vector.Number("exp");
  g.dram_bytes_per_s = fields.Number("dram_bytes_per_s");
  g.burst_overhead_bytes = fields.Number("burst_overhead_bytes");
  g.neighbour_merge = fields.Number("neighbour_merge");
  g.overlap_norm = fields.Number("overlap_norm");
  g.dispatch_s = fields.Number("dispatch_s");
  g.context_switch_s = fields.Number("context_switch_s");
  g.reconfiguration_s = fields.Number("reconfiguration_s");
  g.descriptor_reprogram_s = fields.Number("descriptor_reprogram_s");
  g.op_overhead_s = fields.Number("op_overhead_s");
  g.idle_w = fields.Number("idle_w");
  g.joule_per_dram_byte = fields.Number("joule_per_dram_byte");
  g.joule_per_mac = ByType(fields, "joule_per_mac");
  LEM_TRY(fields.status());
  LEM_TRY(vector.status());
  return g;
}

const std::vector<NpuGeneration>& NpuGenerations() {
  static const std::vector<NpuGeneration> kGenerations = [] {
    std::vector<NpuGeneration> generations;
    for (const std::string_view json : {std::string_view(kNpuXdna, static_cast<size_t>(kNpuXdnaEnd - kNpuXdna)),
                                        std::string_view(kNpuXdna2, static_cast<size_t>(kNpuXdna2End - kNpuXdna2))}) {
      Result<NpuGeneration> generation = ParseNpuGeneration(json);
      LEM_CHECK(generation.ok()) << generation.status().message();  // the program's own files
      generations.push_back(std::move(*generation));
    }
    return generations;
  }();
  return kGenerations;
}

Result<const NpuGeneration*> FindNpuGeneration(std::string_view id) {
  std::vector<std::string> ids;
  for (const NpuGeneration& generation : NpuGenerations()) {
    if (generation.id == id) return &generation;
    ids.push_back(generation.id);
  }
  return NotFound("there are no parameters of an NPU generation '{}'; there are: {}", id, fmt::join(ids, ", "));
}

}  // namespace lem
