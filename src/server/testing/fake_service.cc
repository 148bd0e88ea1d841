#include "server/testing/fake_service.h"

#include <gtest/gtest.h>

#include <deque>
#include <limits>

namespace lem {
namespace {

std::unique_ptr<Tokenizer> MakeByteTokenizer() {
  // Byte-level spelling: GPT-2's table of printable code points for the 256 bytes.
  static std::deque<std::string> spellings;
  if (spellings.empty()) {
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      const int code = printable ? byte : next++;
      std::string text;
      if (code < 0x80) {
        text += static_cast<char>(code);
      } else {
        text += static_cast<char>(0xc0 | code >> 6);
        text += static_cast<char>(0x80 | (code & 0x3f));
      }
      spellings.push_back(text);
    }
    for (const char* control : {"<s>", "</s>", "<|im_start|>", "<|im_end|>"}) spellings.emplace_back(control);
  }
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = "gpt-2";
  spec.tokens.assign(spellings.begin(), spellings.end());
  spec.token_types.assign(spec.tokens.size(), static_cast<int32_t>(TokenType::kNormal));
  for (size_t id = 256; id < 260; ++id) spec.token_types[id] = static_cast<int32_t>(TokenType::kControl);
  spec.bos = 256;
  spec.eos = 257;
  spec.add_bos = true;
  auto tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return std::move(*tokenizer);
}

}  // namespace

struct FakeService::Job {
  GenerateRequest request;
  FakeScript script;
  std::shared_ptr<EventQueue> queue = std::make_shared<EventQueue>();  // shared with the generation
  std::atomic<bool> cancelled{false};
};

class FakeService::FakeGeneration : public Generation {
 public:
  FakeGeneration(FakeService& service, std::shared_ptr<Job> job)
      : service_(service), job_(std::move(job)), queue_(job_->queue) {
    ++service_.num_live_;
    ++service_.num_running_;
    thread_ = std::thread([this] { Play(); });
  }
  ~FakeGeneration() override {
    queue_->SetNotify(nullptr);
    Cancel();
    thread_.join();
    --service_.num_live_;
  }
  std::optional<Event> Poll() override { return queue_->Poll(); }
  Event Wait() override { return queue_->Wait(); }
  void SetNotify(std::function<void()> notify) override { queue_->SetNotify(std::move(notify)); }
  void Cancel() override { job_->cancelled.store(true); }

 private:
  // False if it was cancelled meanwhile.
  bool Sleep(std::chrono::milliseconds time) const {
    const auto end = Clock::now() + time;
    do {
      if (job_->cancelled.load() || service_.cancel_all_.load()) return false;
      if (time.count() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } while (Clock::now() < end);
    return true;
  }

  void Play() {
    queue_->Emit(Run());
    --service_.num_running_;
  }

  FinishedEvent Run() {
    const GenerateRequest& request = job_->request;
    const FakeScript& script = job_->script;
    Usage usage;
    usage.prompt_tokens = static_cast<int32_t>(request.prompt.size());
    usage.cached_tokens = 1;
    queue_->Emit(QueuedEvent{});
    if (!Sleep(script.prefill_time)) return CancelledEvent(usage);
    if (request.pooling != Pooling::kNone) {
      // Something that tells prompts and poolings apart.
      queue_->Emit(
          EmbeddingEvent{{static_cast<float>(request.prompt.front()), static_cast<float>(request.prompt.back()),
                          static_cast<float>(request.prompt.size()), static_cast<float>(request.pooling)}});
      return {script.fail_after_tokens.ok() ? FinishReason::kStop : FinishReason::kError, script.fail_after_tokens,
              usage};
    }
    if (request.prompt_logprobs) queue_->Emit(PromptLogprobsEvent{PromptLogprobs()});
    for (const int32_t token : script.tokens) {
      if (usage.completion_tokens == request.max_tokens) break;
      if (!Sleep(script.token_time)) return CancelledEvent(usage);
      if (Clock::now() >= request.deadline) {
        return {FinishReason::kError, DeadlineExceeded("the request's deadline has passed"), usage};
      }
      queue_->Emit(WithLogprobs(token));
      ++usage.completion_tokens;
    }
    if (!script.fail_after_tokens.ok()) return {FinishReason::kError, script.fail_after_tokens, usage};
    const bool full = request.max_tokens >= 0 && usage.completion_tokens == request.max_tokens;
    return {full ? FinishReason::kLength : FinishReason::kStop, OkStatus(), usage};
  }

  FinishedEvent CancelledEvent(const Usage& usage) const {
    ++service_.num_cancelled_;
    return {FinishReason::kCancelled, Cancelled("the request was cancelled"), usage};
  }

  // The token is likely, the one after it less.
  TokenEvent WithLogprobs(int32_t token) const {
    TokenEvent event{token, -0.5f, {}};
    for (int32_t i = 0; i < job_->request.num_logprobs; ++i) {
      event.top.push_back({token + i, -0.5f * static_cast<float>(i + 1)});
    }
    return event;
  }
  std::vector<TokenEvent> PromptLogprobs() const {
    std::vector<TokenEvent> events;
    for (const int32_t token : job_->request.prompt) events.push_back(WithLogprobs(token));
    events.front() = {events.front().token, std::numeric_limits<float>::quiet_NaN(), {}};
    return events;
  }

  FakeService& service_;
  const std::shared_ptr<Job> job_;  // shared with the thread
  const std::shared_ptr<EventQueue> queue_;
  std::thread thread_;
};

FakeService::FakeService() : tokenizer_(MakeByteTokenizer()), chat_template_(ChatTemplate::ChatMl()) {
  model_.id = "fake";
  model_.path = "/models/fake.gguf";
  model_.created_unix_s = 1700000000;
  model_.hidden_size = 4;
  model_.context_length = 512;
  model_.tokenizer = tokenizer_.get();
  model_.chat_template = chat_template_.get();
  model_.state = ModelState::kReady;
  SetAnswer("Hello");
}

FakeService::~FakeService() { EXPECT_EQ(num_live_.load(), 0) << "generations outlive the service"; }

void FakeService::SetScript(FakeScript script) {
  const std::lock_guard lock(mutex_);
  script_ = std::move(script);
}

void FakeService::SetAnswer(std::string_view text) {
  FakeScript script;
  for (const char byte : text) script.tokens.push_back(static_cast<unsigned char>(byte));
  SetScript(std::move(script));
}

void FakeService::SetContextLength(int32_t tokens) {
  const std::lock_guard lock(mutex_);
  model_.context_length = tokens;
}

void FakeService::SetState(ModelState state) {
  const std::lock_guard lock(mutex_);
  model_.state = state;
  model_.error = state == ModelState::kFailed ? DataLoss("model 'fake' cannot be loaded: broken") : OkStatus();
}

std::vector<GenerateRequest> FakeService::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::vector<ModelInfo> FakeService::Models() const {
  const std::lock_guard lock(mutex_);
  return {model_};
}

Result<ModelInfo> FakeService::FindModel(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  if (id == model_.id || id.empty()) return model_;
  return NotFound("there is no model '{}'; models served here: fake", id);
}

bool FakeService::Ready() const {
  const std::lock_guard lock(mutex_);
  return model_.state == ModelState::kReady;
}

Status FakeService::EnsureLoaded(const std::string& id, Clock::time_point) {
  LEM_ASSIGN_OR_RETURN(const ModelInfo model, FindModel(id));
  if (model.state == ModelState::kUnloaded) SetState(ModelState::kReady);
  return model.error;
}

Status FakeService::Unload(const std::string& id) {
  LEM_TRY(FindModel(id).status());
  SetState(ModelState::kUnloaded);
  return OkStatus();
}

Status FakeService::SetKeepAlive(const std::string& id, std::chrono::seconds) { return FindModel(id).status(); }

Result<std::unique_ptr<Generation>> FakeService::Submit(GenerateRequest request) {
  const std::lock_guard lock(mutex_);
  if (draining_) return Unavailable("the server is shutting down and takes no new requests");
  LEM_TRY(script_.refuse);
  requests_.push_back(request);
  auto job = std::make_shared<Job>();
  job->request = std::move(request);
  job->script = script_;
  return std::unique_ptr<Generation>(std::make_unique<FakeGeneration>(*this, std::move(job)));
}

ServiceStats FakeService::Stats() const {
  ServiceStats stats;
  const std::lock_guard lock(mutex_);
  stats.requests_total = requests_.size();
  stats.running = num_running_.load();
  return stats;
}

void FakeService::Drain(Clock::time_point deadline) {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  while (num_running_.load() > 0 && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  cancel_all_.store(true);
}

std::vector<DeviceInfo> FakeService::DevicesInUse() const {
  const std::lock_guard lock(mutex_);
  return {{.id = "gpu:0", .kind = "gpu", .name = "a GPU", .driver = "1.0", .in_use = true, .health = device_health_}};
}

std::vector<DeviceInfo> FakeService::Devices() const {
  std::vector<DeviceInfo> devices = DevicesInUse();
  devices.push_back({.id = "cpu", .kind = "cpu", .name = "a CPU"});
  return devices;
}

void FakeService::SetDeviceHealth(Status health) {
  const std::lock_guard lock(mutex_);
  device_health_ = std::move(health);
}

void FakeService::SetPlacementError(Status error) {
  const std::lock_guard lock(mutex_);
  model_.placement_error = std::move(error);
}

}  // namespace lem
