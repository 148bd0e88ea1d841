// One answer under way: takes the events of its generations on the answer loop's thread, makes text of the tokens and
// hands both to a dialect's writer, whose messages go to the client as a stream or as one body.
//
// Ends when every choice has ended, when something fails, or when the client goes; the generations are then cancelled.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/answer_writer.h"
#include "runtime/inference_service.h"
#include "server/answer_loop.h"
#include "server/answer_sink.h"
#include "server/audit_log.h"
#include "server/error_mapping.h"
#include "server/metrics.h"
#include "text/text_assembler.h"
#include "text/tool_calls/answer_parser.h"

namespace lem {

// A prompt that the answer begins with.
struct EchoedPrompt {
  std::string text;
  std::vector<std::string> token_bytes;  // with logprobs: of each prompt token
};

struct ChoiceSetup {
  std::unique_ptr<Generation> generation;
  std::optional<EchoedPrompt> echo;
  bool first_of_prompt = true;  // its prompt counts in the usage; choices of one prompt count it once
};

struct AnswerSetup {
  std::unique_ptr<AnswerWriter> writer;
  std::string model;                     // its id
  std::vector<ChoiceSetup> choices;      // by index
  const Tokenizer* tokenizer = nullptr;  // of the model; lives as long as the service
  std::vector<std::string> stop;         // the client's; in calls of tools none of them counts
  std::vector<std::string> end_markers;  // the template's: they end an answer without being named
  bool with_logprobs = false;
  bool at_text_start = true;  // see TextAssembler
  int32_t prompt_tokens = 0;  // of all prompts
  std::string call_id_prefix = "call_";
  // Of chats whose answers are taken apart: reasoning, text, calls of tools.
  struct Parsing {
    ToolFormat format;
    AnswerParserOptions options;
  };
  std::optional<Parsing> parsing;
};

// The request that an answer is for.
struct AnswerOrigin {
  std::string request_id;
  Clock::time_point received_at;
  std::string principal, remote_address;
  std::string load;  // of the server, for a header (LoadReport); may be empty
};

// Told of each answer when it is over. Called on the answer loop's thread; must be quick.
using AnswerObserver = std::function<void(const AuditedAnswer&)>;

class ServedAnswer final : public AnswerLoop::Task, public std::enable_shared_from_this<ServedAnswer> {
 public:
  // The loop keeps the answer until it ends. Loop, dialect and metrics must outlive it.
  static void Start(AnswerLoop& loop, AnswerSetup setup, std::unique_ptr<AnswerSink> sink, const ErrorDialect& dialect,
                    Metrics& metrics, AnswerOrigin origin, AnswerObserver observer);

  void Run() override;
  void Abandon() override;

 private:
  struct PendingToken {
    AnswerToken token;
    size_t begin = 0;  // where its text begins in the choice's text, in bytes
  };
  struct Choice {
    std::unique_ptr<Generation> generation;
    std::optional<EchoedPrompt> echo;
    bool first_of_prompt = true;
    TextAssembler assembler;
    std::unique_ptr<AnswerParser> parser;  // null: everything is text
    bool in_call = false;                  // then no stop string counts
    int32_t num_tool_calls = 0;
    std::string note;
    int32_t completion_tokens = 0;
    bool ended = false;
    Clock::time_point first_token_at{}, last_token_at{};
    // With logprobs: tokens whose text has not been given out, and how many bytes of text there were in all.
    std::vector<PendingToken> pending;
    size_t token_bytes = 0;
    size_t given_out_bytes = 0;
  };

  ServedAnswer(AnswerLoop& loop, AnswerSetup setup, std::unique_ptr<AnswerSink> sink, const ErrorDialect& dialect,
               Metrics& metrics, AnswerOrigin origin, AnswerObserver observer);

  void Begin();
  void TakeEvents();
  void Handle(int32_t idx, Event event);
  void HandleToken(int32_t idx, const TokenEvent& event);
  void HandlePromptLogprobs(int32_t idx, const PromptLogprobsEvent& event);
  void HandleFinished(int32_t idx, const FinishedEvent& event);
  // What has become certain of a choice's text, with its tokens.
  void GiveOut(int32_t idx, std::string text, bool at_end);
  // The same, taken apart.
  void GiveOutParts(int32_t idx, AnswerParts parts, std::vector<AnswerToken> tokens);
  std::string MakeCallId() const;
  void EndChoice(int32_t idx, FinishReason reason);
  void Report(std::string_view outcome) const;
  void AddTimes(const Usage& usage);
  void AddEnergy(const Usage& usage);
  void AddOwnHeaders(http::Headers& headers) const;
  void Fail(const Status& status);
  // Cancels what still runs and lets the loop forget this answer.
  void End();

  void Put(const WireMessages& messages);
  bool Flush();
  void KeepAlive();
  AnswerToken Describe(const TokenEvent& event, std::string bytes) const;
  // Bytes of a token in the choice's text.
  std::string VisibleText(const Choice& choice, TokenId token) const;

  AnswerLoop& loop_;
  const ErrorDialect& dialect_;
  Metrics& metrics_;
  std::unique_ptr<AnswerSink> sink_;  // null when the answer has ended
  const std::unique_ptr<AnswerWriter> writer_;
  const bool is_stream_;
  const Tokenizer& tokenizer_;
  const bool with_logprobs_;
  const bool at_text_start_;
  const std::optional<AnswerSetup::Parsing> parsing_;
  const std::vector<std::string> end_markers_;
  std::vector<std::string> stop_strings_;  // with end_markers_
  const std::string call_id_prefix_;
  const AnswerOrigin origin_;
  const std::string model_;
  const AnswerObserver observer_;
  std::string plan_header_;
  std::atomic<bool> client_gone_{false};

  // Of the loop's thread alone.
  std::vector<Choice> choices_;
  Usage usage_;
  size_t num_ended_ = 0;
  size_t num_with_energy_ = 0;  // choices whose energy usage_ has
  bool begun_ = false, ended_ = false, has_tokens_ = false;
  bool has_pending_ = false;  // messages that were put and not sent
  Clock::time_point last_write_{};
  Clock::time_point next_timer_{};
};

}  // namespace lem
