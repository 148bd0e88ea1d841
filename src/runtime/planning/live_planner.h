// Chooses for each request, while the service runs, which devices do it: by the cost model, by what the devices are
// busy with, and by what steps took lately. Keeps the record of it: plans, timelines, errors of prediction.
//
// Ways through a model that are worth having and not open are opened in the background; meanwhile requests take the
// best that is. Thread-safe. Steps are only noted on the engine's thread; a thread of its own, or whoever plans,
// evaluates them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "runtime/planning/energy_account.h"
#include "runtime/planning/step_records.h"
#include "runtime/profile/measured_machine.h"
#include "scheduler/placement_search.h"

namespace lem {

struct LivePlannerOptions {
  Goal goal = Goal::kLatency;
  std::vector<std::string> devices;        // that plans may use; empty = what the profile says is worth opening
  std::filesystem::path folder;            // where what was learned is kept, beside the profile; empty = nowhere
  std::filesystem::path power_root = "/";  // of PowerProbe
};

// A request from its planning to its end. What is not atomic is the planner's.
class PlannedRequest {
 public:
  PlanSummary summary() const { return summary_; }

 private:
  friend class LivePlanner;
  PlanSummary summary_;                   // as it was planned; never changes
  std::atomic<int64_t> num_computed_{0};  // tokens
  // Of the engine's thread.
  Energy energy_;
  // Guarded by the planner.
  PlanInfo info_;
  SequenceId id_ = 0;
  int32_t model_ = 0;
  RequestShape shape_;
  std::optional<RequestPlan> plan_;  // empty: the user's placement, or devices that are not in the profile
};

class LivePlanner {
 public:
  // Errors: as MeasuredMachine::MakeCostModel.
  static Result<std::unique_ptr<LivePlanner>> Create(const MeasuredMachine& machine, LivePlannerOptions options);
  ~LivePlanner();

  // --- while models load ---

  struct Proposal {
    Placement placement;                  // for a request of common lengths
    std::vector<Placement> others;        // that are best for requests of other lengths, or refuges
    std::vector<std::string> device_ids;  // worth opening
  };
  // Errors: as WorkOfModel and SearchPlacement; NotFound (a device that is not in the profile).
  Result<Proposal> Propose(const Model& model) const;
  // `id`: how people call it. chooses: requests are placed by cost, and not all as the engine is placed. The engine
  // must live until RemoveModel. Devices that are not in `devices` cannot be used. Errors: as WorkOfModel.
  Status AddModel(int32_t model, const std::string& id, const Model& loaded, Engine& engine,
                  const DeviceRegistry& devices, const std::string& wanted_placement, bool chooses);

  // Forgets a model, before its engine goes. REQUIRES: none of its requests is under way.
  void RemoveModel(int32_t model);

  // --- requests ---

  // Any thread; takes some milliseconds at most.
  std::shared_ptr<PlannedRequest> Plan(int32_t model, SequenceId id, const GenerateRequest& request,
                                       int64_t answer_limit);
  // The placement to run it on, now; empty: as the engine is placed.
  std::string PlacementOf(const PlannedRequest& request) const;

  // It runs from now on; so many tokens of its prompt are known.
  static void Admitted(PlannedRequest& request, int64_t num_known) { request.num_computed_ = num_known; }
  // The engine's thread: a step with these requests begins, and what its submissions did.
  void BeginStep(int32_t model, int64_t rows, std::vector<std::shared_ptr<PlannedRequest>> requests);
  void EndStep(std::vector<Engine::BatchRun> runs);
  // Fills in the energy of `usage`. The request is forgotten but for its record.
  void Finish(const std::shared_ptr<PlannedRequest>& request, Usage& usage);

  struct Move {
    SequenceId id = 0;
    int32_t model = 0;
    std::string placement;
    RequestPlan plan;
  };
  // Running requests that would be better off elsewhere; for the engine's thread, which says what became of it.
  std::vector<Move> TakeMoves();
  void Moved(PlannedRequest& request, const Move& move);

  // --- what people want to know ---

  std::vector<PlanInfo> Plans();   // the latest first
  std::vector<TraceSpan> Trace();  // in order of time
  std::vector<PredictionStats> Predictions();
  std::vector<RouteStatus> Routes() const;

 private:
  struct ModelEntry {
    std::string id;
    Engine* engine = nullptr;
    ModelWork work;
    bool chooses = false;
    std::string wanted_placement;                                                // of the engine
    std::map<std::string, std::array<std::vector<PlannedSegment>, 2>> segments;  // by placement and phase
    std::map<std::pair<int, int>, std::string> usual;  // placement of the last request, by buckets of its lengths
    double mean_answer = 0;                            // tokens; 0 = none has ended
  };
  // A step as the engine's thread noted it.
  struct Noted {
    int32_t model = 0;
    Engine::BatchRun run;
  };
  struct Ended {
    std::shared_ptr<PlannedRequest> request;
    Usage usage;
  };
  struct InFlight {
    bool active = false;
    int32_t model = 0;
    int64_t rows = 0;
    StepTiming::TimePoint since{};
    std::vector<std::shared_ptr<PlannedRequest>> requests;
  };
  // A step that should be over.
  struct Overdue {
    int device = 0;
    double factor = 1;  // of the predicted time, so far
  };
  // A plan of a decision, the best first.
  struct RankedPlan {
    const RequestPlan* plan = nullptr;
    std::string name;  // of its placement
    bool is_open = false;
    std::string_view lost_because;  // empty for the decision's best
  };
  struct DeviceWatch {
    Device* device = nullptr;
    StepTiming::TimePoint last_seen{};
    // When plans were last looked over.
    double noted_factor = 0;
    bool was_usable = true;
  };

  LivePlanner(CostModel costs, std::string fingerprint, LivePlannerOptions options);

  void Work();
  // REQUIRES of all below: mutex_ held.
  void Drain();
  void Evaluate(const Noted& noted);
  void Record(const Ended& ended);
  void SetPlanningState(const ModelEntry& entry, const PlannedRequest* besides);
  void ClearState();
  std::optional<Overdue> FindOverdue();
  bool MayUse(int device) const;
  SearchOptions SearchFor(const ModelEntry& entry) const;
  static std::vector<RankedPlan> Rank(const PlanDecision& decision, const RouteTable& routes);
  void Choose(ModelEntry& entry, PlannedRequest& request);
  static std::string PlacementOfEngine(const ModelEntry& entry);
  void DescribeByRoute(ModelEntry& entry, PlannedRequest& request);
  const std::array<std::vector<PlannedSegment>, 2>* SegmentsOfPlacement(ModelEntry& entry,
                                                                        const std::string& placement);
  void LookOver();
  bool DevicesChanged();
  std::filesystem::path CorrectionsPath() const;
  void LoadCorrections();
  void SaveCorrections();

  const LivePlannerOptions options_;
  const std::string fingerprint_;  // of the profile
  EnergyAccount energy_;

  mutable std::mutex mutex_;
  CostModel costs_;
  std::map<int32_t, ModelEntry> models_;
  std::vector<DeviceWatch> watches_;  // by device of the profile
  std::vector<std::shared_ptr<PlannedRequest>> live_;
  std::deque<PlanInfo> ended_;
  StepRecords records_;
  std::vector<Move> moves_;
  std::atomic<bool> has_moves_{false};
  uint64_t next_id_ = 1;
  int64_t num_saved_ = 0;           // observations that are on disk
  mutable std::mutex notes_mutex_;  // never held for long: the engine's thread takes it
  std::condition_variable noted_;
  std::deque<std::variant<Noted, Ended>> notes_;
  InFlight in_flight_;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace lem
