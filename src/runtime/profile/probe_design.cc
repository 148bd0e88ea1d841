#include "runtime/profile/probe_design.h"

namespace lem {
namespace {

class Steps {
 public:
  // One row of each of so many sequences.
  Steps& Answers(std::initializer_list<int64_t> rows, int64_t context = 0) {
    for (const int64_t count : rows) Add(Phase::kDecode, count, count, context);
    return *this;
  }
  // So many rows of one sequence.
  Steps& Prompts(std::initializer_list<int64_t> rows, int64_t context = 0) {
    for (const int64_t count : rows) Add(Phase::kPrefill, count, 1, context);
    return *this;
  }
  std::vector<ProbeStep> Take() { return std::move(steps_); }

 private:
  void Add(Phase phase, int64_t rows, int64_t sequences, int64_t context) {
    const double each = static_cast<double>(rows) / static_cast<double>(sequences);
    const double mean_context = static_cast<double>(context) + each / 2;
    steps_.push_back({{phase, static_cast<double>(rows), static_cast<double>(sequences), mean_context}, context});
  }

  std::vector<ProbeStep> steps_;
};

// Every edge that kernels may have: they work on tiles of 4, 8, 16 and 32 rows, so one row more than a multiple costs
// as much as many more.
std::vector<ProbeStep> EveryEdge() {
  return Steps()
      .Answers({1})
      .Prompts({32})
      .Answers({1}, kMaxProbeContext)
      .Prompts({32}, kMaxProbeContext)
      .Answers({2, 3, 4, 5, 8, 9, 12, 13, 16})
      .Prompts({33, 64, 65, 128, 17, 16})
      .Answers({4, 16}, kMaxProbeContext)
      .Prompts({64, 128}, kMaxProbeContext)
      .Answers({1, 4, 8}, 512)
      .Prompts({97, 129, 256, 192, 96, 193, 224, 48})
      .Prompts({16, 64, 128}, 512)
      .Take();
}

std::vector<ProbeStep> SomeEdges() {
  return Steps()
      .Answers({1, 4})
      .Prompts({32})
      .Answers({1}, kMaxProbeContext)
      .Answers({8, 16, 2, 5})
      .Prompts({64, 128, 16})
      .Answers({1, 8}, 512)
      .Prompts({32}, kMaxProbeContext)
      .Prompts({96}, 512)
      .Answers({4}, kMaxProbeContext)
      .Answers({9})
      .Prompts({256})
      .Prompts({128}, kMaxProbeContext)
      .Take();
}

// What a weight type needs: its rates beside those of the type that was measured at every edge.
std::vector<ProbeStep> FewSteps() {
  return Steps().Answers({1, 4}).Prompts({32}).Answers({8}).Prompts({128}).Answers({16}).Answers({1}, 512).Take();
}

}  // namespace

std::vector<ProbeDesign> ProbeDesigns(bool cold) {
  const auto layers = [cold](int32_t count) { return cold ? count : 1; };
  std::vector<ProbeDesign> designs;
  const auto add = [&designs](const ProbeShape& model, double share, std::vector<ProbeStep> steps) {
    designs.push_back({model, share, std::move(steps)});
  };
  add({DType::kQ4_K, layers(6), 512, 1536, 8, 2, 64, 16384}, 10, EveryEdge());
  add({DType::kQ4_K, layers(8), 1024, 2816, 16, 4, 64, 32768}, 2, SomeEdges());
  // Heads that few caches hold, heads of attention of other sizes and groups, and weights of the size that models have.
  add({DType::kQ8_0, layers(10), 768, 2048, 3, 1, 256, 196608}, 2, SomeEdges());
  add({DType::kQ4_1, layers(24), 640, 1792, 10, 2, 64, 65536}, 2, SomeEdges());
  add({DType::kQ5_0, layers(16), 1024, 4096, 8, 1, 128, 32768}, 2, SomeEdges());
  for (const DType dtype :
       {DType::kQ8_0, DType::kQ5_0, DType::kQ4_0, DType::kQ4_1, DType::kQ6_K, DType::kQ5_K, DType::kF16}) {
    add({dtype, layers(5), 1024, 2816, 16, 4, 64, 8192}, 1, FewSteps());
  }
  add({DType::kQ4_K, layers(6), 2048, 5632, 32, 8, 64, 16384}, 2, SomeEdges());
  return designs;
}

}  // namespace lem
