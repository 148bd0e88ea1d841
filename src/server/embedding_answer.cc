#include "server/embedding_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <utility>

#include "server/generation_setup.h"

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

// The inputs as tokens that the model reads. Errors: an input that is empty or longer than the context, ids that the
// model has not, dimensions that it has not; each naming its input.
ParseResult<std::vector<std::vector<TokenId>>> Tokenise(const ModelInfo& model, const EmbeddingQuery& query) {
  const auto refuse = [](Status status, std::string where, std::string code) {
    return tl::unexpected(RequestError{std::move(status), std::move(where), std::move(code)});
  };
  if (query.dimensions > model.hidden_size) {
    return refuse(InvalidArgument("dimensions is {}; allowed: 1 to {}, the width of model '{}'", query.dimensions,
                                  model.hidden_size, model.id),
                  "dimensions", "invalid_value");
  }
  std::vector<std::vector<TokenId>> tokens;
  tokens.reserve(query.inputs.size());
  for (size_t i = 0; i < query.inputs.size(); ++i) {
    const std::string where = query.inputs.size() == 1 ? query.param : fmt::format("{}[{}]", query.param, i);
    const auto* text = std::get_if<std::string>(&query.inputs[i]);
    std::vector<TokenId> ids = text != nullptr
                                   ? model.tokenizer->Encode(*text, SpecialTokens::kAsText, AddSpecial::kModelDefault)
                                   : std::get<std::vector<TokenId>>(query.inputs[i]);
    if (ids.empty() || (text != nullptr && text->empty())) {
      return refuse(InvalidArgument("{} is empty; at least one token is needed", where), where, "empty_string");
    }
    if (query.truncate) ids.resize(std::min(ids.size(), static_cast<size_t>(model.context_length)));
    if (ids.size() > static_cast<size_t>(model.context_length)) {
      return refuse(InvalidArgument("{} has {} tokens; at most {} fit the context of model '{}': shorten it", where,
                                    ids.size(), model.context_length, model.id),
                    where, "context_length_exceeded");
    }
    tokens.push_back(std::move(ids));
  }
  return tokens;
}

class EmbeddingAnswer final : public AnswerLoop::Task, public std::enable_shared_from_this<EmbeddingAnswer> {
 public:
  EmbeddingAnswer(AnswerLoop& loop, GenerationContext context, EmbeddingQuery query,
                  std::vector<std::vector<TokenId>> inputs, std::unique_ptr<AnswerSink> sink,
                  const ErrorDialect& dialect)
      : loop_(loop),
        context_(std::move(context)),
        query_(std::move(query)),
        inputs_(std::move(inputs)),
        sink_(std::move(sink)),
        dialect_(dialect),
        vectors_(inputs_.size()) {}

  void Run() override;
  void Abandon() override { End(); }

 private:
  struct Pending {
    size_t input = 0;
    std::unique_ptr<Generation> generation;
  };

  bool SubmitMore();
  void TakeEvents();
  void Handle(Pending& pending, Event event);
  void Fail(const Status& status, size_t input);
  void End();

  AnswerLoop& loop_;
  const GenerationContext context_;
  const EmbeddingQuery query_;
  const std::vector<std::vector<TokenId>> inputs_;
  const std::unique_ptr<AnswerSink> sink_;
  const ErrorDialect& dialect_;
  std::atomic<bool> client_gone_{false};

  // Of the loop's thread alone.
  std::vector<Pending> pending_;
  std::vector<std::vector<float>> vectors_;  // by input
  size_t num_submitted_ = 0, num_done_ = 0;
  int64_t prompt_tokens_ = 0;
  bool begun_ = false, ended_ = false;
};

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
  if (ended_ || !SubmitMore() || num_done_ < inputs_.size()) return;
  sink_->SendBody(query_.write(query_.model, vectors_, prompt_tokens_), {});
  End();
}

bool EmbeddingAnswer::SubmitMore() {
  while (num_submitted_ < inputs_.size() && pending_.size() < kMaxPending) {
    const size_t input = num_submitted_++;
    GenerateRequest request;
    request.id = context_.request_id;
    request.model = query_.model;
    request.prompt = inputs_[input];
    request.max_tokens = 0;
    request.pooling = query_.pooling;
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
    Normalise(vectors_[pending.input], query_.dimensions);
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
  const std::string where = vectors_.size() == 1 ? query_.param : fmt::format("{}[{}]", query_.param, input);
  sink_->SendError({status, is_input ? where : "", ""}, dialect_);
  End();
}

void EmbeddingAnswer::End() {
  if (std::exchange(ended_, true)) return;
  pending_.clear();
  loop_.Release(*this);
}

}  // namespace

void AnswerEmbeddings(const HandlerContext& context, const http::Request& request, const http::Responder& responder,
                      ParseResult<EmbeddingQuery> query, const ErrorDialect& dialect) {
  GenerationContext generation = context.ForRequest(request);
  const auto tokenise = [&]() -> ParseResult<std::vector<std::vector<TokenId>>> {
    if (!generation.urgency) return tl::unexpected(generation.urgency.error());
    if (!query) return tl::unexpected(query.error());
    auto model = FindReadyModel(context.service, query->model, generation.deadline);
    if (!model) return tl::unexpected(model.error());
    query->model = model->id;
    if (query->keep_alive) (void)context.service.SetKeepAlive(model->id, *query->keep_alive);
    return Tokenise(*model, *query);
  };
  auto inputs = tokenise();
  if (!inputs) return responder.Send(ErrorResponse(inputs.error(), dialect, request.request_id));
  // The loop keeps the answer until it ends.
  context.loop.Adopt(std::make_shared<EmbeddingAnswer>(context.loop, std::move(generation), *std::move(query),
                                                       *std::move(inputs), MakeHttpSink(responder, request.request_id),
                                                       dialect));
}

}  // namespace lem
