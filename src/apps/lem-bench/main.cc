// lem-bench model: speed of prefill and decode of one model file on this machine.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <exception>

#include "apps/lem-bench/grammar_bench.h"
#include "apps/lem-bench/interface_bench.h"
#include "apps/lem-bench/kernels_bench.h"
#include "apps/lem-bench/model_bench.h"
#include "apps/lem-bench/npu_bench.h"
#include "apps/lem-bench/predict_bench.h"
#include "base/cpu_info.h"
#include "base/json.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

void PrintJson(const ModelBench& bench, const ModelBenchOptions& options,
               const std::vector<ModelBenchResult>& results) {
  JsonWriter out;
  out.BeginArray();
  for (const ModelBenchResult& result : results) {
    out.BeginObject().Key("test").String(result.test).Key("tokens").Int(result.num_tokens);
    out.Key("tokens_per_s").Double(result.BestTokensPerSecond());
    out.Key("median_tokens_per_s").Double(result.MedianTokensPerSecond());
    out.Key("depth")
        .Int(result.depth)
        .Key("batch")
        .Int(result.batch)
        .Key("runs")
        .Int(static_cast<int64_t>(result.seconds.size()));
    out.Key("threads").Int(bench.num_threads()).Key("model").String(options.model.filename().string());
    out.Key("isa").String(BestKernelTable().name).Key("cpu").String(GetCpuInfo().brand).EndObject();
  }
  out.EndArray();
  fmt::print("{}\n", out.text());
}

void PrintTable(const ModelBench& bench, const ModelBenchOptions& options,
                const std::vector<ModelBenchResult>& results) {
  const CpuInfo& cpu = GetCpuInfo();
  fmt::print("model    {} ({}, {})\n", options.model.filename().string(), bench.model().config.architecture,
             bench.model().quantization);
  fmt::print("machine  {}, {} processors: {}\n", cpu.brand, cpu.num_cpus, fmt::join(cpu.FeatureNames(), " "));
  fmt::print("kernels  {}, {} threads\n\n", BestKernelTable().name, bench.num_threads());
  fmt::print("{:<8} {:>7} {:>7} {:>5} {:>12} {:>12}\n", "test", "tokens", "depth", "runs", "best tok/s",
             "median tok/s");
  for (const ModelBenchResult& result : results) {
    fmt::print("{:<8} {:>7} {:>7} {:>5} {:>12.1f} {:>12.1f}\n", result.test, result.num_tokens, result.depth,
               result.seconds.size(), result.BestTokensPerSecond(), result.MedianTokensPerSecond());
  }
}

Status RunModelBench(const ModelBenchOptions& options, bool json) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelBench> bench, ModelBench::Create(options));
  LEM_ASSIGN_OR_RETURN(const std::vector<ModelBenchResult> results, bench->Run());
  (json ? PrintJson : PrintTable)(*bench, options, results);
  return OkStatus();
}

Status RunInterface(const std::filesystem::path& model, int num_threads, int num_steps, bool json) {
  LEM_ASSIGN_OR_RETURN(const std::vector<InterfaceBenchResult> results,
                       RunInterfaceBench(model, num_threads, num_steps));
  JsonWriter out;
  out.BeginArray();
  for (const InterfaceBenchResult& result : results) {
    out.BeginObject().Key("test").String(result.test).Key("direct_us").Double(result.direct_us);
    out.Key("interface_us").Double(result.interface_us).Key("ratio").Double(result.ratio()).EndObject();
    if (!json) {
      fmt::print("{:<8} direct {:9.1f} us, through the interface {:9.1f} us, ratio {:.4f}\n", result.test,
                 result.direct_us, result.interface_us, result.ratio());
    }
  }
  out.EndArray();
  if (json) fmt::print("{}\n", out.text());
  return OkStatus();
}

Status RunKernels(const KernelsBenchOptions& options, bool json) {
  LEM_ASSIGN_OR_RETURN(const std::vector<KernelsBenchResult> results, RunKernelsBench(options));
  JsonWriter out;
  out.BeginArray();
  if (!json) {
    fmt::print("{:<12} {:<5} {:>6} {:>6} {:>5} {:>8} {:>8} {:>6} {:>9} {:>9} {:>6}\n", "isa", "type", "N", "K", "rows",
               "GB/s", "read", "share", "GFLOP/s", "peak", "share");
  }
  for (const KernelsBenchResult& r : results) {
    out.BeginObject().Key("isa").String(r.isa).Key("type").String(r.type).Key("n").Int(r.n).Key("k").Int(r.k);
    out.Key("rows").Int(r.num_rows).Key("seconds").Double(r.seconds).Key("gbytes_per_s").Double(r.gbps());
    out.Key("read_gbytes_per_s").Double(r.read_gbps).Key("gflops").Double(r.gflops());
    out.Key("peak_gflops").Double(r.peak_gflops).EndObject();
    if (!json) {
      fmt::print("{:<12} {:<5} {:>6} {:>6} {:>5} {:>8.1f} {:>8.1f} {:>5.0f}% {:>9.1f} {:>9.1f} {:>5.0f}%\n", r.isa,
                 r.type, r.n, r.k, r.num_rows, r.gbps(), r.read_gbps, 100 * r.gbps() / r.read_gbps, r.gflops(),
                 r.peak_gflops, 100 * r.gflops() / r.peak_gflops);
    }
  }
  out.EndArray();
  if (json) fmt::print("{}\n", out.text());
  return OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("Measures what Lemonade does on this machine", "lem-bench");
  app.require_subcommand(1);
  CLI::App* command = app.add_subcommand("model", "Speed of prefill and decode of one model file");
  ModelBenchOptions options;
  bool json = false;
  command->add_option("--model", options.model, "A .gguf file")->required();
  command->add_option("--threads", options.num_threads, "Compute threads; 0 = one a processor")
      ->check(CLI::Range(0, 1024));
  command->add_option("--prefill", options.prefill_sizes, "Tokens of a prompt; may be repeated")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--decode", options.decode_sizes, "Tokens of an answer; may be repeated")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--depth", options.depth, "Tokens in the context before the answer")
      ->check(CLI::Range(0, 1 << 20));
  command->add_option("--batch", options.batch, "Sequences that answer at a time; rates are of all together")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command->add_option("--runs", options.num_runs, "Runs of each test; the best and the median are told")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_flag("--json", json, "Print a JSON array with one object a test");
  CLI::App* interface_command =
      app.add_subcommand("interface", "Cost of the device interface: the CPU through it and called directly");
  int num_steps = 200;
  interface_command->add_option("--model", options.model, "A .gguf file")->required();
  interface_command->add_option("--threads", options.num_threads, "Compute threads; 0 = one a processor")
      ->check(CLI::Range(0, 1024));
  interface_command->add_option("--steps", num_steps, "Steps of each way; the medians are told")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  interface_command->add_flag("--json", json, "Print a JSON array with one object a test");
  PredictBenchOptions predict_options;
  const CLI::App* predict_command = AddPredictCommand(app, predict_options);
  CLI::App* kernels_command =
      app.add_subcommand("kernels", "Products with quantised weights beside the machine's limits, in turns");
  KernelsBenchOptions kernels;
  kernels_command->add_option("--type", kernels.types, "Such as Q4_K; may be repeated; without it, all");
  kernels_command->add_option("--shape", kernels.shapes, "N,K of a matrix; may be repeated");
  kernels_command->add_option("--rows", kernels.rows, "Rows of activations; may be repeated")
      ->check(CLI::Range(1, 1 << 16));
  kernels_command->add_option("--isa", kernels.isas, "As LEM_ISA; may be repeated; without it, the best");
  kernels_command->add_option("--weights", kernels.weight_mib, "MiB of weights to pass by")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  kernels_command->add_option("--threads", kernels.num_threads, "Compute threads; 0 = one a processor")
      ->check(CLI::Range(0, 1024));
  kernels_command->add_option("--runs", kernels.num_runs, "Of each cell; the best is told")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  kernels_command->add_flag("--json", json, "Print a JSON array with one object a cell");
  NpuBenchOptions npu_options;
  const CLI::App* npu_command = AddNpuCommand(app, npu_options);
  GrammarBenchOptions grammar_options;
  const CLI::App* grammar_command = AddGrammarCommand(app, grammar_options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  if (options.prefill_sizes.empty() && options.decode_sizes.empty()) {
    options.prefill_sizes = {512};
    options.decode_sizes = {64};
  }
  const Status status = *npu_command         ? RunNpuBench(npu_options)
                        : *grammar_command   ? RunGrammarBench(grammar_options)
                        : *predict_command   ? RunPredictBench(predict_options)
                        : *kernels_command   ? RunKernels(kernels, json)
                        : *interface_command ? RunInterface(options.model, options.num_threads, num_steps, json)
                                             : RunModelBench(options, json);
  if (status.ok()) return 0;
  fmt::print(stderr, "lem-bench: {}\n", status.message());
  return 1;
}

}  // namespace
}  // namespace lem

int main(int argc, char** argv) {
  try {
    return lem::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lem-bench: %s\n", error.what());
    return 1;
  }
}
