#include "scheduler/cost/residual_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/json.h"

namespace lem {
namespace {

constexpr size_t kMaxTrees = 4096;
constexpr size_t kMaxNodes = 1 << 12;
// Steps and splits less than this are not worth a node.
constexpr double kMinGain = 1e-9;
// Shrinks leaves of few rows towards nothing, in rows of weight 1.
constexpr double kLeafPrior = 1.0;

}  // namespace

// Grows trees by exact greedy search: rows are sorted once a feature, each node scans them in order.
class ResidualModel::Trainer {
 public:
  Trainer(std::span<const ResidualRow> rows, const ResidualTraining& training)
      : rows_(rows), training_(training), left_(rows.size()), node_of_(rows.size()) {
    for (size_t f = 0; f < kNumFeatures; ++f) {
      order_[f].resize(rows.size());
      std::iota(order_[f].begin(), order_[f].end(), 0U);
      std::ranges::sort(order_[f], {}, [&](uint32_t i) { return std::pair(rows[i].features[f], i); });
    }
  }

  ResidualModel Run() {
    ResidualModel model;
    double sum = 0, weight = 0;
    for (const ResidualRow& row : rows_) sum += row.weight * row.log_ratio, weight += row.weight;
    if (!(weight > 0)) return model;
    model.base_ = sum / weight;
    for (size_t i = 0; i < rows_.size(); ++i) left_[i] = rows_[i].log_ratio - model.base_;
    for (int t = 0; t < training_.num_trees; ++t) {
      Tree tree = Grow();
      if (tree.size() == 1) break;  // nothing is left to explain
      for (size_t i = 0; i < rows_.size(); ++i) left_[i] -= tree[node_of_[i]].value;
      model.trees_.push_back(std::move(tree));
    }
    return model;
  }

 private:
  struct Sums {
    double sum = 0, weight = 0;
    double Score() const { return sum * sum / (weight + kLeafPrior); }
  };
  struct Split {
    double gain = kMinGain;
    int32_t feature = -1;
    float threshold = 0;
  };
  struct Scan {
    Sums below;
    float last = 0;
    bool begun = false;
  };

  // Level by level; node_of_ says in which node of the tree each row is.
  Tree Grow() {
    Tree tree(1);
    std::ranges::fill(node_of_, 0U);
    size_t level_begin = 0;
    for (int depth = 0; depth < training_.depth; ++depth) {
      const size_t level_end = tree.size();
      const std::vector<Split> splits = BestSplits(level_begin, level_end);
      for (size_t n = level_begin; n < level_end; ++n) {
        const Split& split = splits[n - level_begin];
        if (split.feature < 0) continue;
        tree[n].left = static_cast<int32_t>(tree.size());
        tree[n].feature = split.feature;
        tree[n].threshold = split.threshold;
        tree.resize(tree.size() + 2);
      }
      if (tree.size() == level_end) break;
      for (size_t i = 0; i < rows_.size(); ++i) {
        const Node& node = tree[node_of_[i]];
        if (node.left == 0) continue;
        const bool below = rows_[i].features[static_cast<size_t>(node.feature)] < node.threshold;
        node_of_[i] = static_cast<uint32_t>(node.left + (below ? 0 : 1));
      }
      level_begin = level_end;
    }
    const std::vector<Sums> sums = SumNodes(tree.size());
    for (size_t n = 0; n < tree.size(); ++n) {
      if (tree[n].left != 0) continue;
      tree[n].value = static_cast<float>(training_.learning_rate * sums[n].sum / (sums[n].weight + kLeafPrior));
    }
    return tree;
  }

  std::vector<Sums> SumNodes(size_t num_nodes) const {
    std::vector<Sums> sums(num_nodes);
    for (size_t i = 0; i < rows_.size(); ++i) {
      sums[node_of_[i]].sum += rows_[i].weight * left_[i];
      sums[node_of_[i]].weight += rows_[i].weight;
    }
    return sums;
  }

  std::vector<Split> BestSplits(size_t level_begin, size_t level_end) const {
    const std::vector<Sums> totals = SumNodes(level_end);
    std::vector<Split> best(level_end - level_begin);
    std::vector<Scan> scans(best.size());
    for (size_t f = 0; f < kNumFeatures; ++f) {
      std::ranges::fill(scans, Scan{});
      for (const uint32_t i : order_[f]) {
        if (node_of_[i] < level_begin) continue;  // a leaf of a level above
        const size_t slot = node_of_[i] - level_begin;
        Scan& scan = scans[slot];
        const float value = rows_[i].features[f];
        if (scan.begun && value > scan.last) Offer(totals[node_of_[i]], scan, f, value, best[slot]);
        scan.below.sum += rows_[i].weight * left_[i];
        scan.below.weight += rows_[i].weight;
        scan.last = value;
        scan.begun = true;
      }
    }
    return best;
  }

  void Offer(const Sums& total, const Scan& scan, size_t feature, float value, Split& best) const {
    const Sums above{total.sum - scan.below.sum, total.weight - scan.below.weight};
    if (std::min(scan.below.weight, above.weight) < training_.min_leaf_weight) return;
    const double gain = scan.below.Score() + above.Score() - total.Score();
    if (gain > best.gain) best = {gain, static_cast<int32_t>(feature), (scan.last + value) / 2};
  }

  std::span<const ResidualRow> rows_;
  const ResidualTraining training_;
  std::array<std::vector<uint32_t>, kNumFeatures> order_;
  std::vector<double> left_;  // log ratio that the trees so far do not explain
  std::vector<uint32_t> node_of_;
};

ResidualModel ResidualModel::Train(std::span<const ResidualRow> rows, const ResidualTraining& training) {
  std::vector<ResidualRow> usable;
  std::ranges::copy_if(rows, std::back_inserter(usable), [](const ResidualRow& row) {
    return std::isfinite(row.log_ratio) && row.weight > 0 &&
           std::ranges::all_of(row.features, [](float f) { return std::isfinite(f); });
  });
  return Trainer(usable, training).Run();
}

double ResidualModel::Predict(const FeatureVector& features) const {
  double sum = base_;
  for (const Tree& tree : trees_) {
    size_t n = 0;
    while (tree[n].left != 0) {
      const bool below = features[static_cast<size_t>(tree[n].feature)] < tree[n].threshold;
      n = static_cast<size_t>(tree[n].left) + (below ? 0 : 1);
    }
    sum += tree[n].value;
  }
  return sum;
}

// {"features":16,"base":b,"trees":[[left,feature,threshold,value, left,...],...]}
std::string ResidualModel::ToJson() const {
  JsonWriter out;
  out.BeginObject().Key("features").UInt(kNumFeatures).Key("base").Double(base_).Key("trees").BeginArray();
  for (const Tree& tree : trees_) {
    out.BeginArray();
    for (const Node& node : tree) {
      out.Int(node.left).Int(node.feature).Double(static_cast<double>(node.threshold));
      out.Double(static_cast<double>(node.value));
    }
    out.EndArray();
  }
  return out.EndArray().EndObject().Take();
}

Result<ResidualModel> ResidualModel::FromJson(std::string_view json) {
  LEM_ASSIGN_OR_RETURN(const JsonValue root, ParseJson(json));
  const auto wrong = [] { return InvalidArgument("learned residuals: not in the form that this program writes"); };
  if (!root.is_object()) return wrong();
  const JsonObject& object = root.get_object();
  const JsonValue* const features = object.if_contains("features");
  const JsonValue* const base = object.if_contains("base");
  const JsonValue* const trees = object.if_contains("trees");
  if (!features || !features->is_int64() || !base || !base->is_number() || !trees || !trees->is_array()) return wrong();
  if (features->get_int64() != static_cast<int64_t>(kNumFeatures)) return wrong();
  ResidualModel model;
  model.base_ = base->to_number<double>();
  if (trees->get_array().size() > kMaxTrees) return wrong();
  for (const JsonValue& value : trees->get_array()) {
    if (!value.is_array()) return wrong();
    const JsonArray& cells = value.get_array();
    if (cells.empty() || cells.size() % 4 != 0 || cells.size() / 4 > kMaxNodes) return wrong();
    Tree& tree = model.trees_.emplace_back();
    for (size_t i = 0; i < cells.size(); i += 4) {
      const auto node = static_cast<int64_t>(i / 4), num_nodes = static_cast<int64_t>(cells.size() / 4);
      if (!cells[i].is_int64() || !cells[i + 1].is_int64() || !cells[i + 2].is_number() || !cells[i + 3].is_number()) {
        return wrong();
      }
      const int64_t left = cells[i].get_int64(), feature = cells[i + 1].get_int64();
      // Children come after their parent, so that every walk ends.
      if (left != 0 && (left <= node || left + 1 >= num_nodes)) return wrong();
      if (feature < 0 || feature >= static_cast<int64_t>(kNumFeatures)) return wrong();
      tree.push_back({static_cast<int32_t>(left), static_cast<int32_t>(feature), cells[i + 2].to_number<float>(),
                      cells[i + 3].to_number<float>()});
    }
  }
  return model;
}

}  // namespace lem
