#include "scheduler/scheduler.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

namespace lem {
namespace {

// Without a target of its own a request is due after this, and so many times what its prompt takes alone: short ones
// overtake long ones, but not for ever.
constexpr Seconds kSlack = 0.25;
constexpr double kPromptSlack = 2;
// Weight of the newest time a sequence stayed.
constexpr double kNewestResidence = 0.2;

int64_t BlocksOf(int64_t tokens, int64_t block_tokens) { return (tokens + block_tokens - 1) / block_tokens; }

}  // namespace

Result<AdmissionPolicy> ParseAdmissionPolicy(const std::string& name) {
  if (name == "guarantee") return AdmissionPolicy::kGuarantee;
  if (name == "maximise") return AdmissionPolicy::kMaximise;
  return InvalidArgument("admission is \"{}\"; allowed: guarantee, maximise", name);
}

Scheduler::Urgency Scheduler::UrgencyOf(const SequenceDemand& demand, Seconds due, Seconds now) const {
  const auto aged = static_cast<int64_t>(std::max(0.0, now - demand.arrival) / options_.ageing_s);
  return {std::max<int64_t>(0, static_cast<int64_t>(demand.priority) - aged), shares_.ServiceOf(demand.tenant), due,
          demand.id};
}

void Scheduler::Enqueue(const SequenceDemand& demand) {
  const Seconds row_s = costs_[static_cast<size_t>(demand.model)].steps.prompt_row_s();
  const Seconds usual = kSlack + kPromptSlack * row_s * static_cast<double>(demand.prompt_tokens);
  const Seconds target = demand.ttft_target > 0 ? demand.ttft_target : usual;
  waiting_.push_back({demand, std::min(demand.arrival + target, demand.deadline)});
  shares_.Enter(demand.tenant);
}

void Scheduler::Remove(SequenceId id, Seconds now) {
  if (const auto it = std::ranges::find(waiting_, id, [](const Waiting& w) { return w.demand.id; });
      it != waiting_.end()) {
    shares_.Leave(it->demand.tenant);
    waiting_.erase(it);
  }
  if (const auto it = std::ranges::find(running_, id, [](const Running& r) { return r.demand.id; });
      it != running_.end()) {
    Seconds& residence = costs_[static_cast<size_t>(it->demand.model)].residence_s;
    const Seconds stayed = std::max(0.0, now - it->admitted);
    residence = residence == 0 ? stayed : residence + kNewestResidence * (stayed - residence);
    shares_.Leave(it->demand.tenant);
    running_.erase(it);
  }
}

void Scheduler::SortWaiting(Seconds now) {
  for (Waiting& w : waiting_) w.urgency = UrgencyOf(w.demand, w.due, now);
  std::ranges::sort(waiting_, {}, &Waiting::urgency);
}

std::optional<int64_t> Scheduler::PositionOf(SequenceId id, Seconds now) const {
  const auto it = std::ranges::find(waiting_, id, [](const Waiting& w) { return w.demand.id; });
  if (it == waiting_.end()) return std::nullopt;
  const Urgency own = UrgencyOf(it->demand, it->due, now);
  return std::ranges::count_if(waiting_, [&](const Waiting& w) { return UrgencyOf(w.demand, w.due, now) < own; });
}

// Whose prompt it waits for.
bool Scheduler::IsHeld(const SequenceDemand& demand) const {
  if (demand.follows == 0) return false;
  const auto is_leader = [&](const auto& other) { return other.demand.id == demand.follows; };
  const auto running = std::ranges::find_if(running_, is_leader);
  if (running != running_.end()) return !running->decoding();
  return std::ranges::any_of(waiting_, is_leader);
}

int64_t Scheduler::BlocksHeld(const Running& running, int64_t block_tokens) const {
  return BlocksOf(running.computed, block_tokens);
}

int64_t Scheduler::BlocksPromised(int32_t model, int64_t block_tokens) const {
  int64_t promised = 0;
  for (const Running& r : running_) {
    if (r.demand.model != model) continue;
    // Who decodes may need one more at any time.
    const int64_t wanted =
        options_.policy == AdmissionPolicy::kGuarantee
            ? r.demand.max_blocks
            : std::min(r.demand.max_blocks, BlocksOf(std::max(r.demand.prompt_tokens, r.computed), block_tokens) + 1);
    promised += std::max<int64_t>(0, wanted - BlocksHeld(r, block_tokens));
  }
  return promised;
}

std::optional<SequenceId> Scheduler::LeastUrgent(int32_t model, const Urgency* than, Seconds now) const {
  const Running* least = nullptr;
  Urgency worst;
  for (const Running& r : running_) {
    if (r.demand.model != model) continue;
    const Urgency urgency = UrgencyOf(r.demand, r.due, now);
    if (least != nullptr && urgency < worst) continue;
    least = &r;
    worst = urgency;
  }
  // Of equals nobody is interrupted for another: that would only move the waiting around.
  if (least == nullptr || (than != nullptr && worst.rank <= than->rank)) return std::nullopt;
  return least->demand.id;
}

Admission Scheduler::Admit(std::vector<ModelCapacity> capacity, Seconds now) {
  Admission admission;
  std::vector<int64_t> num_running(static_cast<size_t>(num_models_), 0);
  for (const Running& r : running_) ++num_running[static_cast<size_t>(r.demand.model)];
  for (int32_t model = 0; model < num_models_; ++model) {
    ModelCapacity& room = capacity[static_cast<size_t>(model)];
    room.free_blocks -= BlocksPromised(model, room.block_tokens);
    costs_[static_cast<size_t>(model)].is_full = false;
  }
  SortWaiting(now);
  for (const Waiting& w : waiting_) {
    const SequenceDemand& demand = w.demand;
    const auto model = static_cast<size_t>(demand.model);
    ModelCapacity& room = capacity[model];
    // One that does not fit holds back the less urgent ones of its model, else it might wait for ever; but not those
    // of other models.
    if (costs_[model].is_full || room.max_running == 0 || IsHeld(demand)) continue;
    const int64_t needed = options_.policy == AdmissionPolicy::kGuarantee
                               ? demand.max_blocks
                               : std::min(demand.max_blocks, BlocksOf(demand.prompt_tokens, room.block_tokens) + 1);
    if (needed > room.free_blocks || num_running[model] >= room.max_running) {
      costs_[model].is_full = true;
      if (options_.policy == AdmissionPolicy::kMaximise && !admission.give_way) {
        admission.give_way = LeastUrgent(demand.model, &w.urgency, now);
      }
      continue;
    }
    room.free_blocks -= needed;
    ++num_running[model];
    admission.admitted.push_back(demand.id);
  }
  std::vector<SequenceId> sorted = admission.admitted;
  std::ranges::sort(sorted);
  std::erase_if(waiting_, [&](const Waiting& w) {
    if (!std::ranges::binary_search(sorted, w.demand.id)) return false;
    running_.push_back({.demand = w.demand, .due = w.due, .admitted = now, .last_rows = now});
    return true;
  });
  return admission;
}

void Scheduler::Skip(SequenceId id, int64_t num_tokens) {
  const auto it = std::ranges::find(running_, id, [](const Running& r) { return r.demand.id; });
  if (it != running_.end()) it->computed = num_tokens;
}

void Scheduler::Requeue(SequenceId id, int64_t num_tokens) {
  const auto it = std::ranges::find(running_, id, [](const Running& r) { return r.demand.id; });
  if (it == running_.end()) return;
  Waiting again{.demand = it->demand, .due = it->due};
  again.demand.prompt_tokens = num_tokens;
  again.demand.follows = 0;
  running_.erase(it);
  waiting_.push_back(std::move(again));
}

// Rows of prompts, for which somebody waits or not, beside so many answers. 0 = none this time.
int64_t Scheduler::ChunkLimit(int32_t model, int64_t num_answers, bool patient, Seconds now) const {
  Seconds target = std::numeric_limits<Seconds>::infinity();
  bool has_interactive = false;
  for (const Running& r : running_) {
    if (r.demand.model != model || !r.decoding() || UrgencyOf(r.demand, r.due, now).rank > 0) continue;
    has_interactive = true;
    if (r.demand.tpot_target > 0) target = std::min(target, r.demand.tpot_target);
  }
  const StepCosts& costs = costs_[static_cast<size_t>(model)].steps;
  if (!has_interactive) {
    if (!patient) return std::numeric_limits<int64_t>::max();
    return std::max(options_.min_patient_rows, static_cast<int64_t>(options_.patient_step_s / costs.prompt_row_s()));
  }
  const std::optional<Seconds> alone = costs.AnswersAlone(num_answers);
  if (!alone) return 0;  // one step without prompts shows it
  const Seconds limit = std::isfinite(target) ? target : *alone * options_.itl_factor;
  return std::max(options_.min_chunk, costs.PromptRowsWithin(num_answers, limit).value_or(options_.min_chunk));
}

Decision Scheduler::RowsFor(int32_t model, const ModelCapacity& capacity, Seconds now) {
  Decision decision{.model = model};
  std::vector<std::pair<Urgency, Running*>> answers, prompts;
  for (Running& r : running_) {
    if (r.demand.model != model) continue;
    (r.decoding() ? answers : prompts).emplace_back(UrgencyOf(r.demand, r.due, now), &r);
  }
  std::ranges::sort(answers);
  std::ranges::sort(prompts);
  int64_t tokens_left = capacity.max_step_tokens, outputs_left = capacity.max_step_outputs;
  int64_t blocks_left = capacity.free_blocks;
  bool short_of_blocks = false;
  const auto add = [&](const Running& r, int64_t wanted) {
    const int64_t held = BlocksHeld(r, capacity.block_tokens) * capacity.block_tokens;
    const int64_t room = held - r.computed + blocks_left * capacity.block_tokens;
    const int64_t count = std::min(wanted, room);
    if (count <= 0) {
      short_of_blocks = true;
      return int64_t{0};
    }
    blocks_left -= BlocksOf(r.computed + count, capacity.block_tokens) - BlocksHeld(r, capacity.block_tokens);
    decision.rows.push_back({r.demand.id, count});
    tokens_left -= count;
    outputs_left -= r.demand.outputs_every_row && !r.decoding() ? count : 1;
    return count;
  };
  for (const auto& [urgency, r] : answers) {
    if (tokens_left > 0 && outputs_left > 0) add(*r, 1);
  }
  const auto num_answers = static_cast<int64_t>(decision.rows.size());
  int64_t chunk_left = 0;
  if (!prompts.empty()) {
    const bool patient = prompts.front().first.rank > 0;
    chunk_left = std::min(tokens_left, ChunkLimit(model, num_answers, patient, now));
  }
  // Whose first token comes with this step does not wait for prompts that are less urgent, which may cost much for few
  // rows where contexts are long; but these do not stand still for ever.
  int64_t rank = prompts.empty() ? 0 : prompts.front().first.rank;
  const bool have_others = !prompts.empty() && prompts.back().first.rank > rank;
  const bool others_move = std::ranges::any_of(prompts, [&](const auto& entry) {
    return entry.first.rank > rank && now - entry.second->last_rows <= options_.patience_s;
  });
  int64_t left_for_others = have_others && !others_move ? chunk_left / 2 : 0;
  chunk_left -= left_for_others;
  for (const auto& [urgency, r] : prompts) {
    if (urgency.rank > rank) {
      chunk_left = std::exchange(left_for_others, 0);
      rank = std::numeric_limits<int64_t>::max();
    }
    if (outputs_left <= 0) break;
    if (chunk_left <= 0) continue;
    int64_t chunk = std::min(r->demand.prompt_tokens - r->computed, chunk_left);
    if (r->demand.outputs_every_row) chunk = std::min(chunk, outputs_left);
    const int64_t added = add(*r, chunk);
    if (added > 0) r->last_rows = now;
    chunk_left -= added;
  }
  if (short_of_blocks && options_.policy == AdmissionPolicy::kMaximise && answers.size() + prompts.size() > 1) {
    decision.rows.clear();
    decision.give_way = LeastUrgent(model, nullptr, now);
  }
  return decision;
}

Decision Scheduler::Next(const std::vector<ModelCapacity>& capacity, Seconds now) {
  for (int32_t i = 1; i <= num_models_; ++i) {
    const int32_t model = (last_model_ + i) % num_models_;
    Decision decision = RowsFor(model, capacity[static_cast<size_t>(model)], now);
    if (decision.give_way) return decision;
    if (decision.rows.empty()) continue;
    last_model_ = model;
    return decision;
  }
  return {};
}

void Scheduler::StepDone(int32_t model, const std::vector<StepRows>& rows, Seconds took) {
  int64_t answer_rows = 0, prompt_rows = 0;
  for (const StepRows& row : rows) {
    const auto it = std::ranges::find(running_, row.id, [](const Running& r) { return r.demand.id; });
    if (it == running_.end()) continue;
    // Tokens that an answer got beside the one it was given are its own affair.
    if (it->decoding()) {
      ++answer_rows;
    } else {
      prompt_rows += row.num_tokens;
    }
    it->computed += row.num_tokens;
    shares_.Serve(it->demand.tenant, row.num_tokens);
  }
  costs_[static_cast<size_t>(model)].steps.Record(answer_rows, prompt_rows, took);
}

ModelLoad Scheduler::LoadOf(int32_t model) const {
  ModelLoad load;
  for (const Waiting& w : waiting_) {
    if (w.demand.model != model) continue;
    ModelLoad::PerClass& entry = load.classes[static_cast<size_t>(w.demand.priority)];
    ++entry.waiting;
    entry.prompt_tokens += w.demand.prompt_tokens;
  }
  for (const Running& r : running_) {
    if (r.demand.model != model) continue;
    ++load.running;
    if (r.decoding()) {
      ++load.decoding;
    } else {
      load.classes[static_cast<size_t>(r.demand.priority)].prompt_tokens += r.demand.prompt_tokens - r.computed;
    }
  }
  const ModelCosts& costs = costs_[static_cast<size_t>(model)];
  load.is_full = costs.is_full;
  load.prompt_row_s = costs.steps.prompt_row_s();
  load.residence_s = costs.residence_s;
  return load;
}

Seconds EstimateTtft(const ModelLoad& load, Priority priority, int64_t prompt_tokens) {
  int64_t ahead = 0, tokens = prompt_tokens;
  for (int c = 0; c <= static_cast<int>(priority); ++c) {
    ahead += load.classes[c].waiting;
    tokens += load.classes[c].prompt_tokens;
  }
  // Beside answers, prompts get about half of the time.
  const double share = load.decoding > 0 ? 2 : 1;
  const Seconds computing = static_cast<double>(tokens) * load.prompt_row_s * share;
  if (!load.is_full || load.running == 0) return computing;
  // So many leave in the time that one stays.
  const Seconds leaving = load.residence_s / static_cast<double>(load.running) * static_cast<double>(ahead + 1);
  return std::max(computing, leaving);
}

}  // namespace lem
