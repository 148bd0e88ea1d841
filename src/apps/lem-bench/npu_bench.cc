#include "apps/lem-bench/npu_bench.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <array>
#include <charconv>
#include <cmath>

#include "apps/lem-bench/npu_accuracy.h"
#include "base/json.h"
#include "device/npu/emulator/gemm_program.h"
#include "device/npu/llm_prediction.h"
#include "device/npu/published_points.h"

namespace lem {
namespace {

Result<std::array<int64_t, 3>> ParseThree(std::string_view what, std::string_view text) {
  std::array<int64_t, 3> values{};
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (size_t i = 0; i < values.size(); ++i) {
    const auto [next, error] = std::from_chars(at, end, values[i]);
    const bool last = i + 1 == values.size();
    if (error != std::errc() || (last ? next != end : next == end || *next != ',')) {
      return InvalidArgument("{} is '{}'; it must be three whole numbers: 112,112,112", what, text);
    }
    at = next + 1;
  }
  return values;
}

Result<GemmProgram> CompileProgram(const NpuBenchOptions& options) {
  LEM_ASSIGN_OR_RETURN(const NpuGeneration* generation, FindNpuGeneration(options.generation));
  GemmConfig config;
  LEM_ASSIGN_OR_RETURN(config.in, ParseNpuType(options.input));
  LEM_ASSIGN_OR_RETURN(config.out, ParseNpuType(options.output));
  LEM_ASSIGN_OR_RETURN(const auto shape, ParseThree("--shape", options.shape));
  config.shape = {shape[0], shape[1], shape[2]};
  config.b_row_major = options.b_layout == "row";
  config.overlap_descriptors = !options.no_descriptor_overlap;
  config.double_buffer_c = options.double_buffer_c;
  config.contiguous = options.contiguous;
  if (options.tile.empty()) return CompileBestGemm(*generation, config);
  LEM_ASSIGN_OR_RETURN(const auto tile, ParseThree("--tile", options.tile));
  config.tile = {tile[0], tile[1], tile[2]};
  Result<GemmProgram> program = GemmProgram::Compile(*generation, config);
  // A second C seldom leaves room for the tile that was fastest with one: compare what each does best.
  if (!program.ok() && program.status().code() == StatusCode::kResourceExhausted && config.double_buffer_c) {
    return CompileBestGemm(*generation, config, config.tile);
  }
  return program;
}

Status RunOne(const NpuBenchOptions& options) {
  LEM_ASSIGN_OR_RETURN(const GemmProgram program, CompileProgram(options));
  const GemmConfig& config = program.config();
  const double time_us = program.SecondsWithDispatch() * 1e6, energy_uj = program.JoulesWithDispatch() * 1e6;
  if (!options.json) {
    fmt::print(
        "{} {}-{} {}x{}x{}, tile {}x{}x{}, runs of {}: {:.3f} TOPS, {:.1f} us, {:.1f} uJ of the NPU's rail "
        "(emulated)\n",
        options.generation, options.input, options.output, config.shape.m, config.shape.k, config.shape.n,
        config.tile.m, config.tile.k, config.tile.n, config.contiguous, program.Tops(), time_us, energy_uj);
    return OkStatus();
  }
  JsonWriter out;
  out.BeginObject().Key("tops").Double(program.Tops()).Key("time_us").Double(time_us);
  out.Key("energy_uj").Double(energy_uj).Key("emulated").Bool(true);
  out.Key("generation").String(options.generation);
  out.Key("tile").BeginArray().Int(config.tile.m).Int(config.tile.k).Int(config.tile.n).EndArray();
  out.Key("padded").BeginArray().Int(program.padded().m).Int(program.padded().k).Int(program.padded().n).EndArray();
  out.Key("contiguous").Int(config.contiguous).Key("mac_per_cycle").Double(program.MacsPerCycle());
  out.Key("l1_bytes").Int(program.l1_bytes()).Key("memtile_bytes").Int(program.memtile_bytes());
  out.Key("compute_us").Double(program.cost().compute_s * 1e6).Key("memory_us").Double(program.cost().memory_s * 1e6);
  out.Key("power_source").String("modelled rail").EndObject();
  fmt::print("{}\n", out.text());
  return OkStatus();
}

struct TableRow {
  std::string generation, name, unit;
  double predicted = 0, published = 0;
};

Status PrintTable(bool json) {
  std::vector<TableRow> rows;
  for (const PublishedGemm& point : PublishedGemms()) {
    LEM_ASSIGN_OR_RETURN(const NpuGeneration* generation, FindNpuGeneration(point.generation));
    LEM_ASSIGN_OR_RETURN(const GemmProgram program, GemmProgram::Compile(*generation, point.config));
    const GemmTile& t = point.config.tile;
    const std::string name =
        fmt::format("{}-{} {}x{}x{}", NpuTypeName(point.config.in), NpuTypeName(point.config.out), t.m, t.k, t.n);
    rows.push_back({point.generation, name, "TOPS", program.Tops(), point.tops});
    rows.push_back({point.generation, name, "MAC/cycle", program.MacsPerCycle(), point.macs_per_cycle});
  }
  for (PublishedGemm point : PublishedSingleCores()) {
    LEM_ASSIGN_OR_RETURN(const NpuGeneration* generation, FindNpuGeneration(point.generation));
    point.config.shape = {4096, 4096, 4096};  // one core's rate does not depend on it
    LEM_ASSIGN_OR_RETURN(const GemmProgram program, GemmProgram::Compile(*generation, point.config));
    const GemmTile& t = point.config.tile;
    rows.push_back(
        {point.generation,
         fmt::format("{}-{} {}x{}x{}", NpuTypeName(point.config.in), NpuTypeName(point.config.out), t.m, t.k, t.n),
         "MAC/cycle", program.MacsPerCycle(), point.macs_per_cycle});
  }
  double sum = 0, worst = 0;
  int count = 0;
  JsonWriter out;
  out.BeginObject().Key("emulated").Bool(true).Key("points").BeginArray();
  if (!json) fmt::print("NPU emulator against published measurements (all predictions are emulated)\n");
  for (const TableRow& row : rows) {
    const double error = 100 * (row.predicted / row.published - 1);
    if (row.unit == "TOPS") {
      sum += std::abs(error);
      worst = std::max(worst, std::abs(error));
      ++count;
    }
    if (!json) {
      fmt::print("{:<6} {:<24} {:<9} predicted {:8.2f} published {:8.2f} {:+6.1f} %\n", row.generation, row.name,
                 row.unit, row.predicted, row.published, error);
    }
    out.BeginObject().Key("generation").String(row.generation).Key("name").String(row.name);
    out.Key("unit").String(row.unit).Key("predicted").Double(row.predicted).Key("published").Double(row.published);
    out.Key("error_percent").Double(error).EndObject();
  }
  out.EndArray().Key("mean_error_percent").Double(sum / count).Key("worst_error_percent").Double(worst).EndObject();
  if (json) {
    fmt::print("{}\n", out.text());
  } else {
    fmt::print("TOPS: mean error {:.1f} %, worst {:.1f} %\n", sum / count, worst);
  }
  return OkStatus();
}

Status PrintLlms(bool json) {
  JsonWriter out;
  out.BeginObject().Key("emulated").Bool(true).Key("points").BeginArray();
  if (!json) fmt::print("Language models on XDNA 2 against published speeds (all predictions are emulated)\n");
  for (const PublishedLlm& point : PublishedLlms()) {
    if (!point.fit) continue;
    LEM_ASSIGN_OR_RETURN(const LlmPrediction prediction, PredictLlm(point));
    const double error = 100 * (prediction.tokens_per_s / point.tokens_per_s - 1);
    if (!json) {
      fmt::print("{:<14} {:<8} context {:>6}  predicted {:8.1f} tok/s published {:8.1f} {:+6.1f} %  {:.2f} W rail\n",
                 point.model, point.phase, point.context, prediction.tokens_per_s, point.tokens_per_s, error,
                 prediction.rail_w);
    }
    out.BeginObject().Key("soc").String(point.soc).Key("engine").String(point.engine);
    out.Key("model").String(point.model).Key("phase").String(point.phase).Key("context").Int(point.context);
    out.Key("predicted_tokens_per_s").Double(prediction.tokens_per_s);
    out.Key("published_tokens_per_s").Double(point.tokens_per_s).Key("error_percent").Double(error);
    out.Key("rail_w").Double(prediction.rail_w).EndObject();
  }
  out.EndArray().EndObject();
  if (json) fmt::print("{}\n", out.text());
  return OkStatus();
}

Status RunAccuracy(const NpuBenchOptions& options) {
  NpuAccuracyOptions wanted;
  wanted.model = options.accuracy_model;
  wanted.text = options.text;
  wanted.golden = options.golden;
  wanted.device = options.device;
  wanted.generation = options.generation;
  wanted.max_tokens = options.max_tokens;
  wanted.scale_group = options.scale_group;
  wanted.reference_tokens = options.reference_tokens;
  wanted.modes = {NpuPrecisionMode::kMix, NpuPrecisionMode::kInt8, NpuPrecisionMode::kBf16};
  if (!options.modes.empty()) {
    wanted.modes.clear();
    for (const std::string& name : options.modes) {
      LEM_ASSIGN_OR_RETURN(wanted.modes.emplace_back(), ParseNpuPrecisionMode(name));
    }
  }
  LEM_ASSIGN_OR_RETURN(const NpuAccuracyReport report, MeasureNpuAccuracy(wanted));
  const auto percent = [](double part, double whole) { return whole > 0 ? 100 * part / whole : 0.0; };
  JsonWriter out;
  out.BeginObject().Key("emulated").Bool(report.emulated).Key("device").String(report.device_name);
  out.Key("model").String(wanted.model.filename().string());
  out.Key("tokens").Int(report.num_tokens).Key("perplexity_f32").Double(report.perplexity);
  out.Key("greedy_tokens").Int(report.num_greedy).Key("greedy_agreed_f32").Int(report.greedy_agreed);
  out.Key("cpu_nmse").Double(report.cpu_error).Key("modes").BeginArray();
  if (!options.json) {
    fmt::print("{}\n", report.device_name);
    fmt::print("{}: {} tokens, perplexity {:.4f} in float32 on the CPU; {} of {} golden tokens agree\n",
               wanted.model.filename().string(), report.num_tokens, report.perplexity, report.greedy_agreed,
               report.num_greedy);
    if (wanted.reference_tokens > 0) fmt::print("CPU against the scalar reference: NMSE {:.2e}\n", report.cpu_error);
  }
  for (const NpuAccuracyResult& mode : report.modes) {
    const double change = percent(mode.perplexity - report.perplexity, report.perplexity);
    const double agreed = percent(static_cast<double>(mode.greedy_agreed), static_cast<double>(report.num_greedy));
    if (!options.json) {
      fmt::print(
          "{:<5} products {:.0f} % int8, {:.0f} % int4, {:.0f} % bf16; logits NMSE {:.2e}, perplexity {:.4f} ({:+.2f} "
          "%), greedy {:.1f} %, {:.2f} s{}\n",
          NpuPrecisionModeName(mode.mode), 100 * mode.shares[0], 100 * mode.shares[1], 100 * mode.shares[2],
          mode.logits_error, mode.perplexity, change, agreed, mode.busy_seconds,
          report.emulated ? fmt::format(" and {:.2f} J (emulated)", mode.joules) : "");
    }
    out.BeginObject().Key("mode").String(NpuPrecisionModeName(mode.mode)).Key("shares").BeginObject();
    for (size_t p = 0; p < kNumNpuPrecisions; ++p) {
      out.Key(NpuPrecisionName(static_cast<NpuPrecision>(p))).Double(mode.shares[p]);
    }
    out.EndObject();
    out.Key("logits_nmse").Double(mode.logits_error).Key("perplexity").Double(mode.perplexity);
    out.Key("perplexity_change_percent").Double(change).Key("greedy_agreed_percent").Double(agreed);
    if (report.emulated) {
      out.Key("virtual_seconds").Double(mode.busy_seconds).Key("virtual_joules").Double(mode.joules);
    } else {
      out.Key("busy_seconds").Double(mode.busy_seconds);
    }
    out.EndObject();
  }
  out.EndArray().EndObject();
  if (options.json) fmt::print("{}\n", out.text());
  return OkStatus();
}

}  // namespace

CLI::App* AddNpuCommand(CLI::App& app, NpuBenchOptions& options) {
  CLI::App* command = app.add_subcommand("npu", "The NPU emulator: products, language models, accuracy (emulated)");
  command->add_option("--generation", options.generation, "xdna or xdna2")->capture_default_str();
  command->add_option("--input", options.input, "Type of both factors: i8, bf16")->capture_default_str();
  command->add_option("--output", options.output, "Type of the product: i8, i16, i32, bf16, f32")
      ->capture_default_str();
  command->add_option("--tile", options.tile, "m,k,n of a core's tile; without it the fastest is taken");
  command->add_option("--shape", options.shape, "M,K,N of the product; without it the table of published points");
  command->add_option("--b-layout", options.b_layout, "How the second factor lies in memory")
      ->capture_default_str()
      ->check(CLI::IsMember({"column", "row"}));
  command->add_flag("--no-bd-overlap", options.no_descriptor_overlap,
                    "Write buffer descriptors only when the array is idle");
  command->add_flag("--double-buffer-c", options.double_buffer_c,
                    "Two buffers for C; where the tile then does not fit, the fastest smaller one is taken");
  command->add_option("--contiguous", options.contiguous, "Elements of K read in one run; 0 = the best")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  command->add_flag("--llm", options.llm, "The table of published language-model speeds");
  command->add_option("--accuracy", options.accuracy_model, "A .gguf file: measure what the NPU's number formats cost");
  command->add_option("--device", options.device, "With --accuracy: npu-emu or npu-openvino")->capture_default_str();
  command->add_option("--text", options.text, "With --accuracy: a text for perplexity (tests/data/text/alice.txt)");
  command->add_option("--golden", options.golden, "With --accuracy: a file of tests/golden/*.logits.json");
  command->add_option("--mode", options.modes, "With --accuracy: mix, int8, int4, bf16; may be repeated");
  command->add_option("--max-tokens", options.max_tokens, "With --accuracy: of the text; 0 = all");
  command->add_option("--scale-group", options.scale_group, "With --accuracy: elements of K that share a scale")
      ->capture_default_str()
      ->check(CLI::Range(16, 256));
  command->add_option("--reference-tokens", options.reference_tokens,
                      "With --accuracy: also compare the CPU with the slow scalar reference over so many tokens");
  command->add_flag("--json", options.json, "Print JSON");
  return command;
}

Status RunNpuBench(const NpuBenchOptions& options) {
  if (!options.accuracy_model.empty()) return RunAccuracy(options);
  if (options.llm) return PrintLlms(options.json);
  return options.shape.empty() ? PrintTable(options.json) : RunOne(options);
}

}  // namespace lem
