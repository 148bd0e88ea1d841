#include "scheduler/cost/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "scheduler/testing/made_up_machines.h"

namespace lem {
namespace {

using testing::HasSubstr;
using testing_planner::MakeDevice;
using testing_planner::SmallModel;
using testing_planner::SmallShape;

constexpr double kFfnParameters = 3.0 * 1024 * 4096;
const StepShape kOneToken{Phase::kDecode, 1, 1, 1000};

MachineProfile Machine(std::vector<DeviceProfile> devices) {
  MachineProfile machine{.id = "made-up"};
  machine.devices = std::move(devices);
  return machine;
}
const PartWork& FeedForward(const ModelWork& model) {
  return model.classes[static_cast<size_t>(model.feed_forward[0])];
}
const PartWork& Attention(const ModelWork& model) { return model.classes[static_cast<size_t>(model.attention[0])]; }

TEST(CostModelTest, RooflineOfProducts) {
  const ModelWork model = SmallModel();
  const CostModel costs = *CostModel::Create(Machine({MakeDevice("a", 2, 100)}));
  // One token reads every weight; 1000 tokens multiply.
  const PartCost one = costs.Predict(0, model, FeedForward(model), kOneToken);
  EXPECT_NEAR(one.ms(), kFfnParameters * 2 / 100e6, 1e-9);
  const PartCost many = costs.Predict(0, model, FeedForward(model), {Phase::kPrefill, 1000, 1, 500});
  EXPECT_NEAR(many.ms(), 2 * kFfnParameters * 1000 / 2e9, 1e-9);
  EXPECT_NEAR(costs.PartJoules(0, many), 10 * many.ms() * 1e-3, 1e-12);
}

TEST(CostModelTest, AttentionReadsKeysAndValuesOfTheContextOrItsWindow) {
  const ModelWork model = SmallModel();
  PartWork attention = Attention(model);
  const CostModel costs = *CostModel::Create(Machine({MakeDevice("a", 1000, 100)}));
  const double kv_bytes = 2 * 1024 * 2;  // a token, at 16 bits
  EXPECT_NEAR(costs.Predict(0, model, attention, kOneToken).attention_ms, kv_bytes * 1000 / 100e6, 1e-9);
  EXPECT_NEAR(costs.Predict(0, model, attention, {Phase::kDecode, 4, 4, 1000}).attention_ms,
              4 * kv_bytes * 1000 / 100e6, 1e-9);
  attention.window = 128;
  EXPECT_LT(costs.Predict(0, model, attention, kOneToken).attention_ms, kv_bytes * 200 / 100e6);
}

TEST(CostModelTest, StaticShapesPad) {
  DeviceProfile device = MakeDevice("a", 2, 1000);
  device.row_buckets = {1, 128, 512};
  EXPECT_EQ(device.PaddedRows(2), 128);
  EXPECT_EQ(device.PaddedRows(512), 512);
  EXPECT_EQ(device.PaddedRows(513), 1024);
  const ModelWork model = SmallModel();
  const CostModel costs = *CostModel::Create(Machine({device}));
  EXPECT_DOUBLE_EQ(costs.Predict(0, model, FeedForward(model), {Phase::kPrefill, 130, 1, 65}).ms(),
                   costs.Predict(0, model, FeedForward(model), {Phase::kPrefill, 512, 1, 65}).ms());
}

TEST(CostModelTest, ExpertsAreReadWhenTheyAreHit) {
  ModelShape shape = SmallShape();
  shape.num_experts = 32;
  shape.active_experts = 4;
  const ModelWork model = WorkOfShape(shape, {"f16", 16, 16, 16, 16, 16});
  const CostModel costs = *CostModel::Create(Machine({MakeDevice("a", 1000, 100)}));
  const double router = 1024 * 32 * 2;
  const PartCost one = costs.Predict(0, model, FeedForward(model), kOneToken);
  EXPECT_NEAR(one.memory_ms, (4 * kFfnParameters * 2 + router) / 100e6, 1e-9);
  const PartCost many = costs.Predict(0, model, FeedForward(model), {Phase::kPrefill, 512, 1, 256});
  EXPECT_NEAR(many.memory_ms, (32 * kFfnParameters * 2 + router) / 100e6, 1e-6);
}

TEST(CostModelTest, OthersLeaveLessBandwidthAndTime) {
  MachineProfile machine = Machine({MakeDevice("a", 2, 80), MakeDevice("b", 2, 80)});
  machine.dram_gbs = 100;
  CostModel costs = *CostModel::Create(machine);
  const ModelWork model = SmallModel();
  const double alone = costs.Predict(0, model, FeedForward(model), kOneToken).ms();
  // 87.5 GB/s are there for both together.
  EXPECT_NEAR(costs.SharedBandwidth(0, 1), 87.5 / 160, 1e-9);
  costs.SetState({.devices = {{.slowdown = 2}, {}}, .used_gbs = 47.5});
  EXPECT_NEAR(costs.Predict(0, model, FeedForward(model), kOneToken).ms(), alone * 2 * 80 / 40, 1e-9);
  EXPECT_NEAR(costs.Predict(1, model, FeedForward(model), kOneToken).ms(), alone * 80 / 40, 1e-9);
}

TEST(CostModelTest, ObservationsAndResidualsCorrectPredictions) {
  DeviceProfile device = MakeDevice("a", 2, 100);
  device.log_error = 0.2;
  CostModel costs = *CostModel::Create(Machine({device}));
  const ModelWork model = SmallModel();
  const double before = costs.Predict(0, model, FeedForward(model), kOneToken).ms();
  EXPECT_DOUBLE_EQ(costs.Predict(0, model, FeedForward(model), kOneToken).log_error, 0.2);
  for (int i = 0; i < 20; ++i) costs.Observe(0, model, {&model.feed_forward[0], 1}, kOneToken, 1, 1.5 * before);
  EXPECT_NEAR(costs.Predict(0, model, FeedForward(model), kOneToken).ms(), 1.5 * before, 0.03 * before);
  costs.corrections().Reset(0);
  std::vector<ResidualRow> rows(
      10, {.features = costs.Features(0, model, FeedForward(model), kOneToken), .log_ratio = std::log(2.0F)});
  costs.SetResidual(0, ResidualModel::Train(rows));
  EXPECT_NEAR(costs.Predict(0, model, FeedForward(model), kOneToken).ms(), 2 * before, 1e-3 * before);
  // What is observed from now on is measured against the learned prediction.
  for (int i = 0; i < 20; ++i) costs.Observe(0, model, {&model.feed_forward[0], 1}, kOneToken, 1, 2 * before);
  EXPECT_NEAR(costs.Predict(0, model, FeedForward(model), kOneToken).ms(), 2 * before, 0.03 * before);
}

TEST(CostModelTest, AStepIsItsPartsAndTheHeadHasRowsOfItsOwn) {
  const ModelWork model = SmallModel();
  CostModel costs = *CostModel::Create(Machine({MakeDevice("a", 2, 100)}));
  const std::vector<int32_t> parts = model.AllParts();
  EXPECT_EQ(parts.size(), 2u * static_cast<size_t>(model.num_layers) + 2);
  const StepShape chunk{Phase::kPrefill, 256, 1, 128};
  const PartWork& head = model.classes[static_cast<size_t>(model.head)];
  const auto layers = [&] {
    return model.num_layers * (costs.Predict(0, model, Attention(model), chunk).ms() +
                               costs.Predict(0, model, FeedForward(model), chunk).ms());
  };
  const double without_head = PredictPartsMs(costs, 0, model, parts, chunk, 0);
  EXPECT_NEAR(without_head, layers(), 1e-9 * without_head);
  EXPECT_NEAR(PredictPartsMs(costs, 0, model, parts, chunk, 1) - without_head,
              costs.Predict(0, model, head, {Phase::kPrefill, 1, 1, 128}).ms(), 1e-9);
  // What a step teaches is learned for the rows that each of its parts had.
  for (int i = 0; i < 20; ++i) costs.Observe(0, model, parts, chunk, 1, 2 * (without_head + 1e-3));
  const auto count = [&](CostKind kind, double rows) {
    return costs.corrections().Lookup({0, kind, Phase::kPrefill, RowBucketOf(rows)}).count;
  };
  EXPECT_EQ(count(CostKind::kHead, 1), 20);
  EXPECT_EQ(count(CostKind::kHead, 256), 0);
  EXPECT_EQ(count(CostKind::kFeedForward, 256), 20);
}

TEST(CostModelTest, WattsOfDifferentSourcesAreNotMixed) {
  MachineProfile machine = Machine({MakeDevice("a", 2, 100, 14), MakeDevice("b", 2, 100, 30)});
  machine.devices[1].power.source = PowerSource::kPackage;
  machine.base_w = 10;
  const CostModel rail = *CostModel::Create(machine, PowerSource::kRail);
  EXPECT_TRUE(rail.power().converted);
  EXPECT_DOUBLE_EQ(rail.BusyJoules(0, 1000), 14);
  EXPECT_DOUBLE_EQ(rail.BusyJoules(1, 1000), 20);
  EXPECT_EQ(rail.device(1).power.source, PowerSource::kModelled);
  EXPECT_EQ(rail.IdleWatts(), 0);
  // As the package sees it, the base is there whoever works; by default, too, since sources differ.
  for (const PowerSource source : {PowerSource::kPackage, PowerSource::kUnavailable}) {
    const CostModel package = *CostModel::Create(machine, source);
    EXPECT_EQ(package.power().source, PowerSource::kPackage);
    EXPECT_DOUBLE_EQ(package.BusyJoules(0, 1000) + package.IdleWatts(), 24);
    EXPECT_DOUBLE_EQ(package.BusyJoules(1, 1000) + package.IdleWatts(), 30);
  }
}

TEST(CostModelTest, CopiesGoThroughTheHost) {
  MachineProfile machine = Machine({MakeDevice("a", 2, 100)});
  machine.copies = {{1, 0, 10, 0}, {0, 2, 20, 0}};
  EXPECT_EQ(machine.CopyMs(1, 1, 1e9), 0);
  EXPECT_NEAR(machine.CopyMs(1, 0, 1e9), 100, 1e-9);
  EXPECT_NEAR(machine.CopyMs(1, 2, 1e9), 150, 1e-9);
}

TEST(CostModelTest, RefusesProfilesThatCannotBe) {
  const auto message = [](const MachineProfile& machine) { return CostModel::Create(machine).status().message(); };
  EXPECT_THAT(message(Machine({})), HasSubstr("no devices"));
  EXPECT_THAT(message(Machine({MakeDevice("a", 1, 1), MakeDevice("a", 1, 1)})), HasSubstr("two devices"));
  EXPECT_THAT(message(Machine({MakeDevice("a", 1, 0)})), HasSubstr("bandwidth"));
  EXPECT_THAT(message(Machine({MakeDevice("a", 0, 1)})), HasSubstr("rates"));
}

// A graph as models/llama.cc makes them is the same work as the shape's.
TEST(CostModelTest, GraphAndShapeAreTheSameWork) {
  const ModelShape shape = SmallShape();
  GraphBuilder b("small");
  const auto weight = [&](const char* name, int64_t layer, int64_t rows, int64_t cols) {
    return b.Weight(fmt::format("{}.{}", name, layer), rows, cols);
  };
  ValueId x = b.Embed(b.Weight("embed", 8192, 1024), 1.0f);
  for (int32_t layer = 0; layer < shape.num_layers; ++layer) {
    b.Enter(Part::kAttention, layer);
    const ValueId q = b.Linear(x, weight("q", layer, 1024, 1024));
    const ValueId k = b.Linear(x, weight("k", layer, 1024, 1024));
    const ValueId v = b.Linear(x, weight("v", layer, 1024, 1024));
    const ValueId mixed = b.PagedAttention(q, k, v, layer, 8, 1.0f, 0);
    x = b.Add(x, b.Linear(mixed, weight("o", layer, 1024, 1024)));
    b.Enter(Part::kFeedForward, layer);
    const ValueId gate = b.Linear(x, weight("gate", layer, 4096, 1024));
    const ValueId up = b.Linear(x, weight("up", layer, 4096, 1024));
    x = b.Add(x, b.Linear(b.Glu(gate, up, Activation::kSilu), weight("down", layer, 1024, 4096)));
  }
  b.Enter(Part::kHead);
  const Graph graph = b.Finish(b.Linear(b.SelectOutputs(x), b.Weight("head", 8192, 1024)), {6, 8, 128});
  std::vector<WeightSize> weights;
  weights.reserve(graph.weights.size());
  for (const WeightInfo& info : graph.weights) {
    weights.push_back({static_cast<uint64_t>(info.rows * info.cols) * 2, "f16"});
  }
  ModelWork of_graph = *WorkOfGraph(graph, weights);
  EXPECT_EQ(of_graph.classes[static_cast<size_t>(of_graph.embedding)].weights, "") << "it multiplies nothing";
  of_graph.classes[static_cast<size_t>(of_graph.embedding)].weights = "f16";
  const ModelWork of_shape = SmallModel();
  EXPECT_EQ(of_graph.classes, of_shape.classes);
  EXPECT_EQ(of_graph.attention, of_shape.attention);
  EXPECT_EQ(of_graph.hidden_size, of_shape.hidden_size);
  EXPECT_NEAR(of_graph.weight_memory_bytes(), shape.num_parameters() * 2, 1);
  const auto head_slot = std::ranges::find(graph.weights, "head", &WeightInfo::name) - graph.weights.begin();
  weights[static_cast<size_t>(head_slot)].format = "q8_0";
  const ModelWork mixed = *WorkOfGraph(graph, weights);
  EXPECT_EQ(mixed.classes[static_cast<size_t>(mixed.head)].weights, "q8_0");
  EXPECT_EQ(mixed.classes[static_cast<size_t>(mixed.feed_forward[0])].weights, "f16");
  EXPECT_THAT(WorkOfGraph(graph, {}).status().message(), HasSubstr("sizes of 0"));
}

}  // namespace
}  // namespace lem
