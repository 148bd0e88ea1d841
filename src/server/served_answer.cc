#include "server/served_answer.h"

#include <algorithm>
#include <iterator>
#include <random>
#include <utility>

#include "server/plan_json.h"

namespace lem {
namespace {

// A client that takes its bytes slower than they come is left to catch up above this: the events wait, one small
// struct each, in the generation's queue instead of as text in the socket's. Some thousand tokens.
constexpr size_t kMaxBufferedBytes = 256 << 10;
constexpr auto kCatchUpTime = std::chrono::milliseconds(20);
// Proxies and clients give up on a silent stream after 30 s or more; a long prefill is silent.
constexpr auto kKeepAliveTime = std::chrono::seconds(10);

}  // namespace

void ServedAnswer::Start(AnswerLoop& loop, AnswerSetup setup, std::unique_ptr<AnswerSink> sink,
                         const ErrorDialect& dialect, Metrics& metrics, AnswerOrigin origin, AnswerObserver observer) {
  loop.Adopt(std::shared_ptr<ServedAnswer>(new ServedAnswer(loop, std::move(setup), std::move(sink), dialect, metrics,
                                                            std::move(origin), std::move(observer))));
}

ServedAnswer::ServedAnswer(AnswerLoop& loop, AnswerSetup setup, std::unique_ptr<AnswerSink> sink,
                           const ErrorDialect& dialect, Metrics& metrics, AnswerOrigin origin, AnswerObserver observer)
    : loop_(loop),
      dialect_(dialect),
      metrics_(metrics),
      sink_(std::move(sink)),
      writer_(std::move(setup.writer)),
      is_stream_(writer_->is_stream()),
      tokenizer_(*setup.tokenizer),
      with_logprobs_(setup.with_logprobs),
      at_text_start_(setup.at_text_start),
      parsing_(std::move(setup.parsing)),
      end_markers_(std::move(setup.end_markers)),
      call_id_prefix_(std::move(setup.call_id_prefix)),
      origin_(std::move(origin)),
      model_(std::move(setup.model)),
      observer_(std::move(observer)) {
  stop_strings_ = std::move(setup.stop);
  std::ranges::copy(end_markers_, std::back_inserter(stop_strings_));
  usage_.prompt_tokens = setup.prompt_tokens;
  std::vector<PlanSummary> plans;
  plans.reserve(setup.choices.size());
  for (const ChoiceSetup& choice : setup.choices) plans.push_back(choice.generation->plan());
  plan_header_ = PlanHeader(plans);
  for (ChoiceSetup& choice : setup.choices) {
    choices_.push_back({.generation = std::move(choice.generation),
                        .echo = std::move(choice.echo),
                        .first_of_prompt = choice.first_of_prompt,
                        .assembler = TextAssembler(tokenizer_, stop_strings_, at_text_start_,
                                                   parsing_ ? parsing_->format.visible_tokens : std::vector<TokenId>()),
                        .parser = parsing_ ? MakeAnswerParser(parsing_->format, parsing_->options) : nullptr});
  }
}

void ServedAnswer::Run() {
  if (ended_) return;
  if (!begun_) Begin();
  if (client_gone_.load()) {
    // A client that only closed its sending side still reads.
    return Fail(Cancelled("the client has closed the connection"));
  }
  if (is_stream_ && sink_->buffered_bytes() > kMaxBufferedBytes) {
    return loop_.WakeAt(Clock::now() + kCatchUpTime, weak_from_this());
  }
  TakeEvents();
  if (ended_) return;
  if (!Flush()) return End();
  KeepAlive();
}

void ServedAnswer::Abandon() { End(); }

void ServedAnswer::Begin() {
  begun_ = true;
  last_write_ = Clock::now();
  const std::weak_ptr<ServedAnswer> weak = weak_from_this();
  sink_->OnGone([weak] {
    const std::shared_ptr<ServedAnswer> self = weak.lock();
    if (self == nullptr) return;
    self->client_gone_.store(true);
    self->loop_.Wake(self);
  });
  if (is_stream_) {
    http::Headers headers;
    AddOwnHeaders(headers);
    sink_->BeginStream(std::move(headers), writer_->framing());
  }
  Put(writer_->Begin());
  for (size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    // With log probabilities the text waits for them.
    if (choice.echo && !with_logprobs_) Put(writer_->Text({static_cast<int32_t>(i), choice.echo->text, {}}));
    // The answer outlives the call: End takes the function out before the loop forgets the answer.
    choice.generation->SetNotify([this] { loop_.Wake(shared_from_this()); });
  }
}

void ServedAnswer::TakeEvents() {
  for (size_t i = 0; i < choices_.size(); ++i) {
    while (!ended_ && !choices_[i].ended) {
      std::optional<Event> event = choices_[i].generation->Poll();
      if (!event) break;
      Handle(static_cast<int32_t>(i), std::move(*event));
      if (!ended_ && sink_->pending_bytes() > kMaxBufferedBytes) return loop_.Wake(shared_from_this());
    }
  }
}

void ServedAnswer::Handle(int32_t idx, Event event) {
  if (const auto* token = std::get_if<TokenEvent>(&event)) {
    HandleToken(idx, *token);
  } else if (const auto* prompt = std::get_if<PromptLogprobsEvent>(&event)) {
    HandlePromptLogprobs(idx, *prompt);
  } else if (const auto* finished = std::get_if<FinishedEvent>(&event)) {
    HandleFinished(idx, *finished);
  }
}

void ServedAnswer::HandleToken(int32_t idx, const TokenEvent& event) {
  Choice& choice = choices_[static_cast<size_t>(idx)];
  const Clock::time_point now = Clock::now();
  if (!std::exchange(has_tokens_, true)) metrics_.ObserveFirstToken(now - origin_.received_at);
  if (choice.completion_tokens > 0) metrics_.ObserveTokenGap(now - choice.last_token_at);
  if (choice.completion_tokens == 0) choice.first_token_at = now;
  choice.last_token_at = now;
  ++choice.completion_tokens;
  if (with_logprobs_) {
    const size_t begin = choice.token_bytes;
    choice.token_bytes += VisibleText(choice, event.token).size();
    choice.pending.push_back({Describe(event, tokenizer_.TokenText(event.token, SpecialTokens::kParse)), begin});
  }
  GiveOut(idx, choice.assembler.Append(event.token), /*at_end=*/false);
  if (choice.assembler.stopped()) EndChoice(idx, FinishReason::kStop);
}

void ServedAnswer::HandlePromptLogprobs(int32_t idx, const PromptLogprobsEvent& event) {
  const Choice& choice = choices_[static_cast<size_t>(idx)];
  if (!choice.echo) return;
  AnswerText text{idx, choice.echo->text, {}};
  for (size_t i = 0; i < event.tokens.size() && i < choice.echo->token_bytes.size(); ++i) {
    text.tokens.push_back(Describe(event.tokens[i], choice.echo->token_bytes[i]));
  }
  Put(writer_->Text(std::move(text)));
}

void ServedAnswer::HandleFinished(int32_t idx, const FinishedEvent& event) {
  if (event.reason == FinishReason::kError) return Fail(event.status);
  // Nobody but the server itself cancels a generation whose events are still read.
  if (event.reason == FinishReason::kCancelled) {
    return Fail(Unavailable("the answer was broken off because the server is shutting down"));
  }
  Choice& choice = choices_[static_cast<size_t>(idx)];
  if (choice.first_of_prompt) {
    usage_.cached_tokens += event.usage.cached_tokens;
    usage_.cache_miss = event.usage.cache_miss;
  }
  AddTimes(event.usage);
  AddEnergy(event.usage);
  GiveOut(idx, choice.assembler.Finish(), /*at_end=*/true);
  EndChoice(idx, choice.assembler.stopped() ? FinishReason::kStop : event.reason);
}

// Choices run side by side: the slowest of them counts.
void ServedAnswer::AddTimes(const Usage& usage) {
  usage_.queue_ms = std::max(usage_.queue_ms, usage.queue_ms);
  usage_.prefill_ms = std::max(usage_.prefill_ms, usage.prefill_ms);
  usage_.decode_ms = std::max(usage_.decode_ms, usage.decode_ms);
}

// One source for the whole answer, or none.
void ServedAnswer::AddEnergy(const Usage& usage) {
  usage_.joules += usage.joules;
  usage_.energy_source =
      num_with_energy_++ == 0 || usage_.energy_source == usage.energy_source ? usage.energy_source : "unavailable";
}

void ServedAnswer::AddOwnHeaders(http::Headers& headers) const {
  if (!origin_.load.empty()) headers.Add("endpoint-load-metrics", origin_.load);
  if (!plan_header_.empty()) headers.Add("x-lem-plan", plan_header_);
}

void ServedAnswer::GiveOut(int32_t idx, std::string text, bool at_end) {
  Choice& choice = choices_[static_cast<size_t>(idx)];
  choice.given_out_bytes += text.size();
  // After a stop string the tokens that begin in or behind it are not part of the answer.
  const auto end = at_end && !choice.assembler.stopped()
                       ? choice.pending.end()
                       : std::ranges::find_if(choice.pending, [&](const PendingToken& pending) {
                           return pending.begin >= choice.given_out_bytes;
                         });
  AnswerText piece{idx, std::move(text), {}};
  for (auto it = choice.pending.begin(); it != end; ++it) piece.tokens.push_back(std::move(it->token));
  choice.pending.erase(choice.pending.begin(), end);
  if (choice.parser) {
    GiveOutParts(idx, choice.parser->Append(piece.text), std::move(piece.tokens));
    if (choice.in_call != choice.parser->in_call()) {
      choice.in_call = !choice.in_call;
      choice.assembler.SetStopStrings(choice.in_call ? std::vector<std::string>() : stop_strings_);
    }
    return;
  }
  if (piece.text.empty() && piece.tokens.empty()) return;
  Put(writer_->Text(std::move(piece)));
}

// Log probabilities go with whatever their tokens became.
void ServedAnswer::GiveOutParts(int32_t idx, AnswerParts parts, std::vector<AnswerToken> tokens) {
  using Kind = AnswerPart::Kind;
  Choice& choice = choices_[static_cast<size_t>(idx)];
  for (AnswerPart& part : parts) {
    switch (part.kind) {
      case Kind::kText:
        Put(writer_->Text({idx, std::move(part.text), std::exchange(tokens, {})}));
        break;
      case Kind::kReasoning:
        ++usage_.reasoning_tokens;  // parts come token by token
        Put(writer_->Reasoning(idx, part.text));
        break;
      case Kind::kCallBegin:
        ++choice.num_tool_calls;
        Put(writer_->ToolCall({idx, part.call, MakeCallId(), std::move(part.text), ""}));
        break;
      case Kind::kCallArguments:
        Put(writer_->ToolCall({idx, part.call, "", "", std::move(part.text)}));
        break;
      case Kind::kCallEnd:
        break;
      case Kind::kNote:
        choice.note += (choice.note.empty() ? "" : "; ") + part.text;
        break;
    }
  }
  if (!tokens.empty()) Put(writer_->Text({idx, "", std::move(tokens)}));
}

// Unique, not secret.
std::string ServedAnswer::MakeCallId() const {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  thread_local std::mt19937_64 random{std::random_device{}()};
  const bool is_short = parsing_->format.short_call_ids;
  std::string id = is_short ? "" : call_id_prefix_;
  for (int i = is_short ? 9 : 24; i > 0; --i) id += kAlphabet[random() % kAlphabet.size()];
  return id;
}

void ServedAnswer::EndChoice(int32_t idx, FinishReason reason) {
  Choice& choice = choices_[static_cast<size_t>(idx)];
  if (choice.parser) {
    const auto ending = reason == FinishReason::kLength ? AnswerParser::Ending::kCutOff : AnswerParser::Ending::kWhole;
    GiveOutParts(idx, choice.parser->Finish(ending), {});
  }
  choice.ended = true;
  choice.generation.reset();  // cancels it if a stop string ended the choice
  if (usage_.decode_ms == 0 && choice.completion_tokens > 0) {
    // Nobody has told its times: as seen from here.
    const auto milliseconds = [](auto time) { return std::chrono::duration<double, std::milli>(time).count(); };
    usage_.prefill_ms = milliseconds(choice.first_token_at - origin_.received_at);
    usage_.decode_ms = milliseconds(Clock::now() - choice.first_token_at);
  }
  usage_.completion_tokens += choice.completion_tokens;
  const std::string& stop = choice.assembler.stop_string();
  const bool is_named = std::ranges::find(end_markers_, stop) == end_markers_.end();
  Put(writer_->EndChoice({idx, reason, is_named ? stop : "", choice.num_tool_calls > 0, std::move(choice.note)}));
  if (++num_ended_ < choices_.size()) return;
  metrics_.ObserveAnswer(Clock::now() - origin_.received_at);
  // A choice that a stop string ended took energy that nobody counted to its end.
  if (num_with_energy_ != choices_.size()) usage_.energy_source = "unavailable";
  Report("complete");
  WireMessages last = writer_->End(usage_);
  if (is_stream_) {
    Put(last);
    sink_->EndStream();
  } else {
    http::Headers headers;
    AddOwnHeaders(headers);
    sink_->SendBody(std::move(last.front().data), std::move(headers));
  }
  End();
}

void ServedAnswer::Report(std::string_view outcome) const {
  if (!observer_) return;
  AuditedAnswer answer{origin_.request_id, origin_.principal,   origin_.remote_address, model_,
                       plan_header_,       std::string(outcome)};
  answer.prompt_tokens = usage_.prompt_tokens;
  answer.completion_tokens = usage_.completion_tokens;
  for (const Choice& choice : choices_) {
    if (!choice.ended) answer.completion_tokens += choice.completion_tokens;
  }
  answer.duration_ms = std::chrono::duration<double, std::milli>(Clock::now() - origin_.received_at).count();
  observer_(answer);
}

void ServedAnswer::Fail(const Status& status) {
  Report(StatusCodeName(status.code()));
  const RequestError error{status, "", ""};
  if (is_stream_) {
    Put(writer_->Fail(ToWireError(error, dialect_, origin_.request_id)));
    sink_->EndStream();
  } else {
    sink_->SendError(error, dialect_);
  }
  End();
}

void ServedAnswer::End() {
  ended_ = true;
  choices_.clear();  // cancels; no notify function runs after this
  sink_.reset();     // a stream that has not ended is cut
  loop_.Release(*this);
}

void ServedAnswer::Put(const WireMessages& messages) {
  if (messages.empty()) return;
  sink_->Put(messages);
  has_pending_ = true;
}

// False: the client has gone.
bool ServedAnswer::Flush() {
  if (!is_stream_ || !std::exchange(has_pending_, false)) return true;
  last_write_ = Clock::now();
  return sink_->Flush();
}

void ServedAnswer::KeepAlive() {
  if (!is_stream_) return;
  const Clock::time_point now = Clock::now();
  if (now - last_write_ >= kKeepAliveTime) {
    sink_->KeepAlive(writer_->Ping());
    has_pending_ = true;
    if (!Flush()) return End();
  }
  // One timer at a time; it is set again when it has come.
  if (now < next_timer_) return;
  next_timer_ = last_write_ + kKeepAliveTime;
  loop_.WakeAt(next_timer_, weak_from_this());
}

AnswerToken ServedAnswer::Describe(const TokenEvent& event, std::string bytes) const {
  AnswerToken token{{event.token, std::move(bytes), event.logprob}, {}};
  for (const TokenLogprob& candidate : event.top) {
    token.top.push_back(
        {candidate.token, tokenizer_.TokenText(candidate.token, SpecialTokens::kParse), candidate.logprob});
  }
  return token;
}

std::string ServedAnswer::VisibleText(const Choice& choice, TokenId token) const {
  if (parsing_ && std::ranges::find(parsing_->format.visible_tokens, token) != parsing_->format.visible_tokens.end()) {
    return tokenizer_.TokenText(token, SpecialTokens::kParse);
  }
  // As the detokeniser does it: the first piece of a text may lose a leading space.
  if (at_text_start_ && choice.token_bytes == 0) return tokenizer_.Decode({&token, 1}, SpecialTokens::kAsText);
  return tokenizer_.TokenText(token, SpecialTokens::kAsText);
}

}  // namespace lem
