// For tests only: an InferenceService whose generations do what a script says, on a thread of its own like the engine.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/event_queue.h"
#include "runtime/inference_service.h"

namespace lem {

// What each generation does.
struct FakeScript {
  std::vector<int32_t> tokens;                // the answer; max_tokens cuts it
  std::chrono::milliseconds token_time{0};    // before each token
  std::chrono::milliseconds prefill_time{0};  // before the first one
  Status fail_after_tokens;                   // if not OK: ends with this instead of finishing
  Status refuse;                              // if not OK: Submit says this
};

// The vocabulary is 256 bytes ("\x00" to "\xff" have the ids 0 to 255) and control tokens: <s> 256, </s> 257,
// <|im_start|> 258, <|im_end|> 259. Model "fake" has 512 tokens of context.
class FakeService : public InferenceService {
 public:
  FakeService();
  ~FakeService() override;

  void SetScript(FakeScript script);
  // A script that answers with this text.
  void SetAnswer(std::string_view text);
  void SetState(ModelState state);
  void SetContextLength(int32_t tokens);

  std::vector<GenerateRequest> requests() const;  // all that were submitted
  int num_cancelled() const { return num_cancelled_.load(); }
  int num_live() const { return num_live_.load(); }  // generations that have not been destroyed

  std::vector<ModelInfo> Models() const override;
  Result<ModelInfo> FindModel(const std::string& id) const override;
  bool Ready() const override;
  Status EnsureLoaded(const std::string& id, Clock::time_point deadline) override;
  Status Unload(const std::string& id) override;
  Status SetKeepAlive(const std::string& id, std::chrono::seconds keep_alive) override;
  Result<std::unique_ptr<Generation>> Submit(GenerateRequest request) override;
  ServiceStats Stats() const override;
  std::vector<DeviceInfo> DevicesInUse() const override;
  std::vector<DeviceInfo> Devices() const override;
  // The state of its device "gpu:0", which is OK at first.
  void SetDeviceHealth(Status health);
  void SetPlacementError(Status error);
  void Drain(Clock::time_point deadline) override;

 private:
  class FakeGeneration;
  struct Job;

  mutable std::mutex mutex_;
  FakeScript script_;
  ModelInfo model_;
  std::vector<GenerateRequest> requests_;
  bool draining_ = false;
  Status device_health_;
  std::atomic<bool> cancel_all_{false};
  std::atomic<int> num_cancelled_{0};
  std::atomic<int> num_live_{0};
  std::atomic<int> num_running_{0};
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
};

}  // namespace lem
