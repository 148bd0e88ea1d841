#include "scheduler/plan_memory.h"

#include <algorithm>

namespace lem {

PlanMemory::PlanMemory(const CostModel& costs, const ModelWork& model, const RequestShape& request)
    : costs_(costs), model_(model), request_(request), one_space_(costs.machine().OneSpace()) {
  may_bind_ = FindIfItMayBind();
  attention_bytes_ = kv_elements_ = feed_forward_bytes_ = {0};
  for (size_t layer = 0; layer < model.attention.size(); ++layer) {
    const PartWork& attention = model.classes[static_cast<size_t>(model.attention[layer])];
    const PartWork& feed_forward = model.classes[static_cast<size_t>(model.feed_forward[layer])];
    attention_bytes_.push_back(attention_bytes_.back() + attention.memory_bytes);
    kv_elements_.push_back(kv_elements_.back() + attention.kv_elements_per_token * tokens());
    feed_forward_bytes_.push_back(feed_forward_bytes_.back() + feed_forward.memory_bytes);
  }
}

double PlanMemory::tokens() const {
  return static_cast<double>(request_.batch) * static_cast<double>(request_.prompt_tokens + request_.max_tokens);
}

bool PlanMemory::Fits(const Candidate& candidate) const {
  if (!may_bind_) return true;
  if (candidate.rows_device >= 0) return Fits(candidate, candidate);
  Bytes bytes{};
  const auto at = [&bytes](int device) -> double& { return bytes[static_cast<size_t>(device)]; };
  at(candidate.embedding()) += model_.classes[static_cast<size_t>(model_.embedding)].memory_bytes;
  at(candidate.head) += model_.classes[static_cast<size_t>(model_.head)].memory_bytes;
  for (int16_t i = 0; i < candidate.num_runs; ++i) {
    const LayerRun& run = candidate.runs[static_cast<size_t>(i)];
    const auto begin = static_cast<size_t>(run.begin), end = static_cast<size_t>(run.end);
    at(run.attention) += attention_bytes_[end] - attention_bytes_[begin] +
                         (kv_elements_[end] - kv_elements_[begin]) * costs_.device(run.attention).kv_bits / 8;
    at(run.feed_forward) += feed_forward_bytes_[end] - feed_forward_bytes_[begin];
  }
  for (int d = 0; d < costs_.num_devices(); ++d) {
    const auto limit = static_cast<double>(costs_.device(d).memory_bytes);
    if (limit > 0 && at(d) > limit) return false;
  }
  return true;
}

PlanMemory::Bytes PlanMemory::Of(const Candidate& prefill, const Candidate& decode) const {
  Bytes bytes{};
  const double all_tokens = tokens();
  const auto add = [&](int device, double amount) { bytes[static_cast<size_t>(device)] += amount; };
  const auto add_part = [&](int32_t idx, int prefill_device, int decode_device, bool cut_prefill, bool cut_decode) {
    const PartWork& work = model_.classes[static_cast<size_t>(idx)];
    const bool same = prefill_device == decode_device;
    const auto one = [&](const Candidate& candidate, int device, bool cut) {
      add(device, work.memory_bytes * (cut ? 1 - candidate.rows_fraction : 1));
      if (cut) add(candidate.rows_device, work.memory_bytes * candidate.rows_fraction);
    };
    // A part that one phase cuts and the other has whole is needed whole.
    if (same && cut_prefill && !cut_decode) {
      one(decode, decode_device, false);
      add(prefill.rows_device, work.memory_bytes * prefill.rows_fraction);
    } else {
      one(prefill, prefill_device, cut_prefill);
      if (!same) one(decode, decode_device, cut_decode);
      if (same && cut_decode && !cut_prefill) add(decode.rows_device, work.memory_bytes * decode.rows_fraction);
    }
    const double kv_bytes = work.kv_elements_per_token * all_tokens / 8;
    if (kv_bytes > 0) add(prefill_device, kv_bytes * costs_.device(prefill_device).kv_bits);
    if (kv_bytes > 0 && !same) add(decode_device, kv_bytes * costs_.device(decode_device).kv_bits);
  };
  const bool prefill_rows = prefill.rows_device >= 0, decode_rows = decode.rows_device >= 0;
  add_part(model_.embedding, prefill.embedding(), decode.embedding(), false, false);
  add_part(model_.head, prefill.head, decode.head, prefill_rows, decode_rows);
  for (int32_t layer = 0; layer < model_.num_layers; ++layer) {
    const auto idx = static_cast<size_t>(layer);
    add_part(model_.attention[idx], prefill.AttentionOf(layer), decode.AttentionOf(layer), prefill_rows, decode_rows);
    add_part(model_.feed_forward[idx], prefill.FeedForwardOf(layer), decode.FeedForwardOf(layer), prefill_rows,
             decode_rows);
  }
  return bytes;
}

bool PlanMemory::FindIfItMayBind() const {
  const double all_tokens = tokens();
  return std::ranges::any_of(costs_.machine().devices, [&](const DeviceProfile& device) {
    const double all = model_.weight_memory_bytes() + model_.kv_elements_per_token() * all_tokens * device.kv_bits / 8;
    // Devices of one space may each hold what another holds, too: only half of it is surely enough.
    return device.memory_bytes > 0 && all > static_cast<double>(device.memory_bytes) / 2;
  });
}

bool PlanMemory::Fits(const Candidate& prefill, const Candidate& decode) const {
  if (!may_bind_) return true;
  const Bytes bytes = Of(prefill, decode);
  for (int d = 0; d < costs_.num_devices(); ++d) {
    const DeviceProfile& device = costs_.device(d);
    if (device.memory_bytes == 0) continue;
    if (bytes[static_cast<size_t>(d)] > static_cast<double>(device.memory_bytes)) return false;
  }
  return true;
}

PlanMemory::KvMove PlanMemory::MoveKv(const Candidate& prefill, const Candidate& decode) const {
  if (one_space_) return {};
  std::array<std::array<double, kMaxDevices>, kMaxDevices> moved{};
  for (int32_t layer = 0; layer < model_.num_layers; ++layer) {
    const int from = prefill.AttentionOf(layer), to = decode.AttentionOf(layer);
    if (costs_.device(from).space == costs_.device(to).space) continue;
    const PartWork& work = model_.classes[static_cast<size_t>(model_.attention[static_cast<size_t>(layer)])];
    moved[static_cast<size_t>(from)][static_cast<size_t>(to)] +=
        work.kv_elements_per_token * costs_.device(from).kv_bits / 8 * static_cast<double>(request_.prompt_tokens);
  }
  KvMove move;
  for (int from = 0; from < costs_.num_devices(); ++from) {
    for (int to = 0; to < costs_.num_devices(); ++to) {
      const double amount = moved[static_cast<size_t>(from)][static_cast<size_t>(to)];
      if (amount <= 0) continue;
      move.bytes += amount;
      move.ms += costs_.machine().CopyMs(costs_.device(from).space, costs_.device(to).space, amount);
    }
  }
  return move;
}

}  // namespace lem
