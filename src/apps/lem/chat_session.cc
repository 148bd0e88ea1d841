#include "apps/lem/chat_session.h"

#include <condition_variable>
#include <mutex>

#include "text/text_assembler.h"

namespace lem {
namespace {

// How often a wait for the next token looks at the interrupt flag, which a signal handler sets and cannot announce.
constexpr auto kInterruptPoll = std::chrono::milliseconds(20);

// Sleeps until the engine has events.
class Bell {
 public:
  void Ring() {
    const std::lock_guard lock(mutex_);
    rung_ = true;
    changed_.notify_one();
  }
  void WaitFor(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time, [this] { return rung_; });
    rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool rung_ = false;
};

}  // namespace

Result<std::unique_ptr<ChatSession>> ChatSession::Create(LocalServiceOptions options) {
  std::unique_ptr<ChatSession> session(new ChatSession(std::move(options)));
  LEM_TRY(session->service_.WaitUntilLoaded());
  LEM_ASSIGN_OR_RETURN(session->model_, session->service_.FindModel(""));
  return session;
}

void ChatSession::SetSystem(std::string text) {
  system_ = std::move(text);
  Clear();
}

Result<Answer> ChatSession::Say(std::string message, const OnText& on_text, const CancelToken& interrupt) {
  ChatTemplateInputs inputs;
  if (!system_.empty()) inputs.messages.push_back({.role = "system", .content = system_});
  inputs.messages.insert(inputs.messages.end(), history_.begin(), history_.end());
  inputs.messages.push_back({.role = "user", .content = message});
  LEM_ASSIGN_OR_RETURN(std::vector<TokenId> prompt,
                       EncodeChat(*model_.chat_template, *model_.tokenizer, std::move(inputs)));
  LEM_ASSIGN_OR_RETURN(Answer answer, Generate(std::move(prompt), /*at_text_start=*/true, on_text, interrupt));
  history_.push_back({.role = "user", .content = std::move(message)});
  history_.push_back({.role = "assistant", .content = answer.text});
  return answer;
}

Result<Answer> ChatSession::Complete(std::string_view prompt, const OnText& on_text, const CancelToken& interrupt) {
  std::vector<TokenId> ids = model_.tokenizer->Encode(prompt, SpecialTokens::kParse, AddSpecial::kModelDefault);
  // An end marker after the prompt would ask the model to begin something new instead of going on.
  if (model_.tokenizer->adds_eos() && !ids.empty() && ids.back() == model_.tokenizer->eos()) ids.pop_back();
  return Generate(std::move(ids), /*at_text_start=*/false, on_text, interrupt);
}

Result<Answer> ChatSession::Generate(std::vector<TokenId> prompt, bool at_text_start, const OnText& on_text,
                                     const CancelToken& interrupt) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = options_.max_tokens;
  request.sampling = options_.sampling;
  request.grammar = options_.grammar;
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<Generation> generation, service_.Submit(std::move(request)));
  Bell bell;
  generation->SetNotify([&bell] { bell.Ring(); });
  std::vector<std::string> stop = options_.stop;
  if (at_text_start) {
    const std::vector<std::string> markers = model_.chat_template->end_markers();
    stop.insert(stop.end(), markers.begin(), markers.end());
  }
  TextAssembler assembler(*model_.tokenizer, std::move(stop), at_text_start);
  Answer answer;
  const auto emit = [&](const std::string& text) {
    if (text.empty()) return;
    answer.text += text;
    on_text(text);
  };
  for (;;) {
    if (interrupt.cancelled() || assembler.stopped()) generation->Cancel();
    const std::optional<Event> event = generation->Poll();
    if (!event) {
      bell.WaitFor(kInterruptPoll);
    } else if (const auto* token = std::get_if<TokenEvent>(&*event)) {
      emit(assembler.Append(token->token));
    } else if (const auto* finished = std::get_if<FinishedEvent>(&*event)) {
      emit(assembler.Finish());
      answer.reason = assembler.stopped() ? FinishReason::kStop : finished->reason;
      answer.usage = finished->usage;
      answer.plan = generation->plan();
      generation->SetNotify(nullptr);
      if (answer.reason == FinishReason::kError) return finished->status;
      return answer;
    }
  }
}

}  // namespace lem
