#include "server/embedding_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lem {
namespace {

// Texts of one request that are queued at once: enough to fill steps, and few enough to leave room for others.
constexpr size_t kMaxPending = 32;

// The first `dimensions` entries, at length 1.
void Normalise(std::vector<float>& vector, int32_t dimensions) {
  if (dimensions > 0) vector.resize(static_cast<size_t>(dimensions));
  double squares = 0;
  for (const float value : vector) squares += static_cast<double>(value) * static_cast<double>(value);
  if (squares == 0) return;
  const double factor = 1 / std::sqrt(squares);
  for (float& value : vector) value = static_cast<float>(static_cast<double>(value) * factor);
}

}  // namespace

ParseResult<std::vector<std::vector<TokenId>>> TokeniseInputs(const ModelInfo& model, const std::vector<Prompt>& inputs,
                                                              int32_t dimensions, const std::string& param,
                                                              bool truncate) {
  const auto refuse = [](Status status, std::string where, std::string code) {
    return tl::unexpected(RequestError{std::move(status), std::move(where), std::move(code)});
  };
  if (dimensions > model.hidden_size) {
    return refuse(InvalidArgument("dimensions is {}; allowed: 1 to {}, the width of model '{}'", dimensions,
                                  model.hidden_size, model.id),
                  "dimensions", "invalid_value");
  }
  std::vector<std::vector<TokenId>> tokens;
  tokens.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string where = inputs.size() == 1 ? param : fmt::format("{}[{}]", param, i);
    const auto* text = std::get_if<std::string>(&inputs[i]);
    std::vector<TokenId> ids = text != nullptr
                                   ? model.tokenizer->Encode(*text, SpecialTokens::kAsText, AddSpecial::kModelDefault)
                                   : std::get<std::vector<TokenId>>(inputs[i]);
    if (ids.empty() || (text != nullptr && text->empty())) {
      return refuse(InvalidArgument("{} is empty; at least one token is needed", where), where, "empty_string");
    }
    if (truncate) ids.resize(std::min(ids.size(), static_cast<size_t>(model.context_length)));
    if (ids.size() > static_cast<size_t>(model.context_length)) {
      return refuse(InvalidArgument("{} has {} tokens; at most {} fit the context of model '{}': shorten it", where,
                                    ids.size(), model.context_length, model.id),
                    where, "context_length_exceeded");
    }
    tokens.push_back(std::move(ids));
  }
  return tokens;
}

void EmbeddingAnswer::Start(AnswerLoop& loop, GenerationContext context, EmbeddingSetup setup,
                            std::unique_ptr<AnswerSink> sink, const ErrorDialect& dialect) {
  loop.Adopt(std::shared_ptr<EmbeddingAnswer>(
      new EmbeddingAnswer(loop, std::move(context), std::move(setup), std::move(sink), dialect)));
}

EmbeddingAnswer::EmbeddingAnswer(AnswerLoop& loop, GenerationContext context, EmbeddingSetup setup,
                                 std::unique_ptr<AnswerSink> sink, const ErrorDialect& dialect)
    : loop_(loop),
      context_(std::move(context)),
      setup_(std::move(setup)),
      sink_(std::move(sink)),
      dialect_(dialect),
      vectors_(setup_.inputs.size()) {}

void EmbeddingAnswer::Run() {
  if (ended_) return;
  if (!begun_) {
    begun_ = true;
    sink_->OnGone([weak = weak_from_this()] {
      const std::shared_ptr<EmbeddingAnswer> self = weak.lock();
      if (self == nullptr) return;
      self->client_gone_.store(true);
      self->loop_.Wake(self);
    });
  }
  if (client_gone_.load()) return End();
  TakeEvents();
  if (ended_ || !SubmitMore() || num_done_ < setup_.inputs.size()) return;
  sink_->SendBody(setup_.write(vectors_, prompt_tokens_), {});
  End();
}

bool EmbeddingAnswer::SubmitMore() {
  while (num_submitted_ < setup_.inputs.size() && pending_.size() < kMaxPending) {
    const size_t input = num_submitted_++;
    GenerateRequest request;
    request.id = context_.request_id;
    request.model = setup_.model;
    request.prompt = setup_.inputs[input];
    request.max_tokens = 0;
    request.pooling = setup_.pooling;
    request.deadline = context_.deadline;
    SetUrgency(*context_.urgency, request);
    Result<std::unique_ptr<Generation>> generation = context_.service.Submit(std::move(request));
    if (!generation.ok()) {
      Fail(generation.status(), input);
      return false;
    }
    Pending& added = pending_.emplace_back(Pending{input, std::move(*generation)});
    // The answer outlives the call: End destroys the generation before the loop forgets the answer.
    added.generation->SetNotify([this] { loop_.Wake(shared_from_this()); });
  }
  return true;
}

void EmbeddingAnswer::TakeEvents() {
  for (size_t i = 0; i < pending_.size() && !ended_; ++i) {
    while (pending_[i].generation != nullptr) {
      std::optional<Event> event = pending_[i].generation->Poll();
      if (!event) break;
      Handle(pending_[i], std::move(*event));
      if (ended_) return;
    }
  }
  std::erase_if(pending_, [](const Pending& pending) { return pending.generation == nullptr; });
}

void EmbeddingAnswer::Handle(Pending& pending, Event event) {
  if (auto* embedding = std::get_if<EmbeddingEvent>(&event)) {
    vectors_[pending.input] = std::move(embedding->values);
    Normalise(vectors_[pending.input], setup_.dimensions);
  } else if (const auto* finished = std::get_if<FinishedEvent>(&event)) {
    const size_t input = pending.input;
    if (!finished->status.ok()) return Fail(finished->status, input);
    prompt_tokens_ += finished->usage.prompt_tokens;
    ++num_done_;
    pending.generation.reset();
  }
}

void EmbeddingAnswer::Fail(const Status& status, size_t input) {
  const bool is_input = status.code() == StatusCode::kInvalidArgument;
  const std::string where = vectors_.size() == 1 ? setup_.param : fmt::format("{}[{}]", setup_.param, input);
  sink_->SendError({status, is_input ? where : "", ""}, dialect_);
  End();
}

void EmbeddingAnswer::End() {
  if (std::exchange(ended_, true)) return;
  pending_.clear();
  loop_.Release(*this);
}

}  // namespace lem
