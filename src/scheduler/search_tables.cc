#include "scheduler/search_tables.h"

#include <algorithm>
#include <cmath>

namespace lem {
namespace {

// Chunks of a long prompt differ in context alone; so many of them stand for all.
constexpr int64_t kMaxSamples = 6;

// Mean of the later of two times that are known but roughly (Clark 1961, for normal distributions): halves that are cut
// to end together seldom do.
double MeanOfLater(double a, double a_log_error, double b, double b_log_error) {
  const double spread = std::hypot(a * a_log_error, b * b_log_error);
  if (spread <= 0) return std::max(a, b);
  const double distance = (a - b) / spread;
  const double a_is_later = 0.5 * std::erfc(-distance * M_SQRT1_2);
  const double density = std::exp(-distance * distance / 2) * M_2_SQRTPI * M_SQRT1_2 / 2;
  return a * a_is_later + b * (1 - a_is_later) + spread * density;
}

}  // namespace

PhaseTable::PhaseTable(const CostModel& costs, const ModelWork& model, const RequestShape& request, Phase phase,
                       int64_t chunk)
    : costs_(costs), model_(model), phase_(phase), chunk_(chunk) {
  MakeSamples(request);
  devices_.resize(static_cast<size_t>(costs.num_devices()));
  for (int device = 0; device < costs.num_devices(); ++device) Fill(device);
}

void PhaseTable::MakeSamples(const RequestShape& request) {
  const auto prompt = static_cast<double>(request.prompt_tokens);
  if (phase_ == Phase::kDecode) {
    const auto batch = static_cast<double>(request.batch);
    const auto steps = static_cast<double>(request.max_tokens);
    chunk_ = request.batch;
    steps_ = request.max_tokens;
    outputs_ = steps * batch;
    samples_ = {{{phase_, batch, batch, prompt + steps / 2}, steps}};
    head_samples_ = samples_;
    return;
  }
  const int64_t rows = request.prompt_tokens - request.cached_tokens;
  chunk_ = std::min(chunk_, rows);
  const int64_t whole = rows / chunk_, last = rows % chunk_;
  steps_ = whole + (last > 0 ? 1 : 0);
  const int64_t num_samples = std::min(whole, kMaxSamples);
  const auto size = static_cast<double>(chunk_);
  for (int64_t i = 0; i < num_samples; ++i) {
    // The middle of the i-th of equal stretches of the prompt.
    const double middle =
        (static_cast<double>(i) + 0.5) / static_cast<double>(num_samples) * static_cast<double>(whole) * size;
    samples_.push_back({{phase_, size, 1, static_cast<double>(request.cached_tokens) + middle},
                        static_cast<double>(whole) / static_cast<double>(num_samples)});
  }
  if (last > 0) samples_.push_back({{phase_, static_cast<double>(last), 1, prompt - static_cast<double>(last) / 2}, 1});
  // Only the last token's logits are asked for.
  head_samples_ = {{{phase_, 1, 1, prompt}, 1}};
}

const std::vector<PhaseTable::Sample>& PhaseTable::SamplesOf(const PartWork& work) const {
  return work.part == Part::kHead ? head_samples_ : samples_;
}

PhaseTable::Sum PhaseTable::SumOfClass(int device, const DeviceTable& table, int32_t class_idx) const {
  const auto idx = static_cast<size_t>(class_idx);
  const std::vector<Sample>& samples = SamplesOf(model_.classes[idx]);
  Sum sum;
  for (size_t i = 0; i < samples.size(); ++i) {
    sum.ms += samples[i].count * table.cells[idx][i].ms();
    sum.joules += samples[i].count * costs_.PartJoules(device, table.cells[idx][i]);
  }
  return sum;
}

void PhaseTable::Fill(int device) {
  DeviceTable& table = devices_[static_cast<size_t>(device)];
  const DeviceProfile& profile = costs_.device(device);
  table.possible = costs_.state(device).available && chunk_ <= profile.max_step_rows;
  std::vector<Sum> of_class;
  for (const PartWork& work : model_.classes) {
    std::vector<PartCost>& cells = table.cells.emplace_back();
    for (const Sample& sample : SamplesOf(work)) cells.push_back(costs_.Predict(device, model_, work, sample.shape));
    of_class.push_back(SumOfClass(device, table, static_cast<int32_t>(table.cells.size()) - 1));
  }
  const auto add = [](const Sum& a, const Sum& b) { return Sum{a.ms + b.ms, a.joules + b.joules}; };
  table.attention.resize(1);
  table.feed_forward.resize(1);
  for (size_t layer = 0; layer < model_.attention.size(); ++layer) {
    table.attention.push_back(add(table.attention[layer], of_class[static_cast<size_t>(model_.attention[layer])]));
    table.feed_forward.push_back(
        add(table.feed_forward[layer], of_class[static_cast<size_t>(model_.feed_forward[layer])]));
  }
  table.embedding = of_class[static_cast<size_t>(model_.embedding)];
  table.head = of_class[static_cast<size_t>(model_.head)];
  double rows = 0;
  for (const Sample& sample : samples_) rows += sample.count * sample.shape.rows;
  const auto steps = static_cast<double>(steps_);
  table.launch_ms = steps * costs_.LaunchMs(device, phase_);
  table.compile_ms = costs_.CompileMs(device, static_cast<double>(chunk_));
  // Every step ends with a wait; logits are copied only where some are asked for.
  const double logits = outputs_ * model_.vocab_size * 4 / steps;
  table.finish_ms = steps * costs_.FinishMs(device, phase_, logits);
  const double row_bytes = rows * model_.row_bytes();
  for (int to = 0; to < costs_.num_devices(); ++to) {
    if (to == device) continue;
    table.hand_over_ms[static_cast<size_t>(to)] = steps * costs_.HandOverMs(device, to, phase_, row_bytes / steps);
    const bool crosses = profile.space != costs_.device(to).space;
    table.hand_over_bytes[static_cast<size_t>(to)] = crosses ? row_bytes : 0;
  }
}

PhaseCost PhaseTable::Evaluate(const Candidate& candidate) const {
  if (candidate.family == PlanFamily::kRows) return EvaluateRows(candidate);
  PhaseCost cost;
  const auto work = [&](int device, const Sum& until, const Sum& from) {
    const double ms = until.ms - from.ms;
    cost.work_ms += ms;
    cost.busy_ms[static_cast<size_t>(device)] += ms;
    cost.share_ms[static_cast<size_t>(device)] += ms;
    cost.joules += until.joules - from.joules;
  };
  const auto device_of = [&](int device) -> const DeviceTable& {
    const DeviceTable& table = devices_[static_cast<size_t>(device)];
    cost.possible &= table.possible;
    return table;
  };
  // `count` times in a step, `to` begins where `from` ended.
  const auto follow = [&](int from, int to, double count) {
    if (from == to) return;
    const DeviceTable& table = device_of(from);
    cost.switch_ms += count * (table.hand_over_ms[static_cast<size_t>(to)] + device_of(to).launch_ms);
    cost.moved_bytes += count * table.hand_over_bytes[static_cast<size_t>(to)];
  };
  int at = candidate.embedding();
  work(at, device_of(at).embedding, {});
  cost.switch_ms += device_of(at).launch_ms;
  for (int16_t i = 0; i < candidate.num_runs; ++i) {
    const LayerRun& run = candidate.runs[static_cast<size_t>(i)];
    const DeviceTable& attention = device_of(run.attention);
    const DeviceTable& feed_forward = device_of(run.feed_forward);
    const auto begin = static_cast<size_t>(run.begin), end = static_cast<size_t>(run.end);
    follow(at, run.attention, 1);
    work(run.attention, attention.attention[end], attention.attention[begin]);
    work(run.feed_forward, feed_forward.feed_forward[end], feed_forward.feed_forward[begin]);
    follow(run.attention, run.feed_forward, static_cast<double>(run.end - run.begin));
    follow(run.feed_forward, run.attention, static_cast<double>(run.end - run.begin - 1));
    at = run.feed_forward;
  }
  follow(at, candidate.head, 1);
  work(candidate.head, device_of(candidate.head).head, {});
  cost.switch_ms += device_of(candidate.head).finish_ms;
  // Two clauses of one device are two segments (graph/placement.h): see ClausesOf.
  const bool embedding_apart = candidate.family == PlanFamily::kThreeLayers ||
                               (candidate.family == PlanFamily::kLayers && candidate.head != candidate.embedding());
  if (embedding_apart) cost.switch_ms += device_of(candidate.embedding()).launch_ms;
  const bool head_apart = candidate.family == PlanFamily::kParts && candidate.head == at && at != candidate.embedding();
  if (head_apart) cost.switch_ms += device_of(at).launch_ms;
  for (size_t d = 0; d < devices_.size(); ++d) {
    if (cost.busy_ms[d] > 0) cost.compile_ms = std::max(cost.compile_ms, devices_[d].compile_ms);
  }
  return cost;
}

PhaseTable::JointCost PhaseTable::Joint(int rest, int rows_device, double fraction, int32_t class_idx) const {
  const auto idx = static_cast<size_t>(class_idx);
  const std::vector<Sample>& samples = SamplesOf(model_.classes[idx]);
  const double rest_share = costs_.SharedBandwidth(rest, rows_device);
  const double rows_share = costs_.SharedBandwidth(rows_device, rest);
  const double joint_factor = costs_.JointFactor(rest, rows_device, phase_);
  const auto products = [joint_factor](const PartCost& cost, double part, double bandwidth) {
    return (std::max(part * cost.compute_ms, part * cost.memory_ms / bandwidth) * joint_factor + cost.fixed_ms) *
           cost.factor;
  };
  JointCost joint;
  for (size_t i = 0; i < samples.size(); ++i) {
    const PartCost& of_rest = devices_[static_cast<size_t>(rest)].cells[idx][i];
    const PartCost& of_rows = devices_[static_cast<size_t>(rows_device)].cells[idx][i];
    const double rest_ms = products(of_rest, 1 - fraction, rest_share);
    const double rows_ms = products(of_rows, fraction, rows_share);
    const double attention_ms = of_rest.attention_ms * of_rest.factor;
    joint.rest_ms += samples[i].count * (rest_ms + attention_ms);
    joint.rows_ms += samples[i].count * rows_ms;
    const double products_ms = MeanOfLater(rest_ms, of_rest.log_error, rows_ms, of_rows.log_error);
    joint.products_ms += samples[i].count * products_ms;
    joint.ms += samples[i].count * (products_ms + attention_ms);
    // Energy counted by operations does not depend on who works beside; energy counted by time does.
    const auto joules = [&](int device, const PartCost& cost, double part, double ms) {
      const DevicePower& power = costs_.device(device).power;
      return power.j_per_mac > 0 ? part * costs_.PartJoules(device, cost) : costs_.BusyJoules(device, ms);
    };
    joint.joules += samples[i].count * (joules(rest, of_rest, 1 - fraction, rest_ms + attention_ms) +
                                        joules(rows_device, of_rows, fraction, rows_ms));
  }
  return joint;
}

PhaseCost PhaseTable::EvaluateRows(const Candidate& candidate) const {
  const int rest = candidate.embedding(), rows_device = candidate.rows_device;
  const DeviceTable& rest_table = devices_[static_cast<size_t>(rest)];
  const DeviceTable& rows_table = devices_[static_cast<size_t>(rows_device)];
  PhaseCost cost;
  cost.possible = rest_table.possible && rows_table.possible;
  std::vector<JointCost> of_class(model_.classes.size());
  std::vector<bool> known(model_.classes.size());
  double joins = 0;
  const auto add = [&](int32_t class_idx) {
    const auto idx = static_cast<size_t>(class_idx);
    if (!known[idx]) of_class[idx] = Joint(rest, rows_device, candidate.rows_fraction, class_idx);
    known[idx] = true;
    cost.work_ms += of_class[idx].ms;
    cost.busy_ms[static_cast<size_t>(rest)] += of_class[idx].rest_ms;
    cost.busy_ms[static_cast<size_t>(rows_device)] += of_class[idx].rows_ms;
    const double of_rows_ms = candidate.rows_fraction * of_class[idx].products_ms;
    cost.share_ms[static_cast<size_t>(rows_device)] += of_rows_ms;
    cost.share_ms[static_cast<size_t>(rest)] += of_class[idx].ms - of_rows_ms;
    cost.joules += of_class[idx].joules;
    joins += model_.classes[idx].num_joins;
  };
  for (const int32_t idx : model_.attention) add(idx);
  for (const int32_t idx : model_.feed_forward) add(idx);
  add(model_.head);
  cost.work_ms += rest_table.embedding.ms;
  cost.busy_ms[static_cast<size_t>(rest)] += rest_table.embedding.ms;
  cost.share_ms[static_cast<size_t>(rest)] += rest_table.embedding.ms;
  cost.joules += rest_table.embedding.joules;
  // At each join both begin a segment, with what the rest's device made, and the rows' device gives its half back.
  const double join_ms = rest_table.launch_ms + rows_table.launch_ms +
                         rest_table.hand_over_ms[static_cast<size_t>(rows_device)] +
                         rows_table.hand_over_ms[static_cast<size_t>(rest)];
  cost.switch_ms = rest_table.launch_ms + joins * join_ms + rest_table.finish_ms;
  cost.moved_bytes = joins * (rest_table.hand_over_bytes[static_cast<size_t>(rows_device)] +
                              rows_table.hand_over_bytes[static_cast<size_t>(rest)]);
  cost.compile_ms = std::max(rest_table.compile_ms, rows_table.compile_ms);
  return cost;
}

double PhaseTable::BalancedFraction(int rest, int rows_device) const {
  // Times of both halves are close to straight lines in the fraction: f at which they meet.
  double all_rest = 0, all_rows = 0, none_rest = 0, none_rows = 0, attention = 0;
  const auto add = [&](int32_t idx) {
    const JointCost low = Joint(rest, rows_device, 0, idx), high = Joint(rest, rows_device, 1, idx);
    all_rest += low.rest_ms;
    none_rest += high.rest_ms;
    none_rows += low.rows_ms;
    all_rows += high.rows_ms;
  };
  // Attention is the rest's alone and comes between the products: it is no part of the balance.
  const auto layer = static_cast<size_t>(model_.num_layers / 2);
  add(model_.attention[layer]);
  add(model_.feed_forward[layer]);
  const auto idx = static_cast<size_t>(model_.attention[layer]);
  for (size_t i = 0; i < samples_.size(); ++i) {
    const PartCost& cost = devices_[static_cast<size_t>(rest)].cells[idx][i];
    attention += samples_[i].count * cost.attention_ms * cost.factor;
  }
  const double slope = (all_rows - none_rows) + (all_rest - none_rest);
  const double fraction = slope > 0 ? (all_rest - attention - none_rows) / slope : 0.5;
  return std::clamp(std::round(fraction * 100) / 100, 0.02, 0.98);
}

double PhaseTable::LogError(const Candidate& candidate) const {
  double ms = 0, error = 0;
  const auto add = [&](int device, int32_t class_idx) {
    const PartCost& cell = devices_[static_cast<size_t>(device)].cells[static_cast<size_t>(class_idx)].front();
    ms += cell.ms();
    error += cell.ms() * cell.log_error;
  };
  for (int32_t layer = 0; layer < model_.num_layers; ++layer) {
    add(candidate.AttentionOf(layer), model_.attention[static_cast<size_t>(layer)]);
    add(candidate.FeedForwardOf(layer), model_.feed_forward[static_cast<size_t>(layer)]);
  }
  return ms > 0 ? error / ms : 0;
}

}  // namespace lem
