// lem run MODEL ["prompt"]: one answer, or a conversation when there is a terminal and no prompt.
#include <unistd.h>

#include <iostream>
#include <iterator>
#include <memory>

#include "apps/lem/chat_session.h"
#include "apps/lem/commands.h"
#include "apps/lem/model_argument.h"
#include "apps/lem/repl.h"
#include "apps/lem/terminal.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "grammar/grammar.h"
#include "server/plan_json.h"

namespace lem {
namespace {

struct RunFlags {
  std::string model;
  std::vector<std::string> prompt_words;
  std::string system;
  bool raw = false, json = false, stats = false;
  AnswerOptions answer{.sampling = {.temperature = 0.7f, .top_p = 0.95f, .min_p = 0.05f}};
  std::optional<uint64_t> seed;
  int32_t threads = 0;
  int64_t context_length = 0;
  PlacementChoice placement;
  std::string trace_file;
  bool deterministic = false;
  std::string schema_file, grammar_file;
};

std::string ReadStandardInput() {
  std::cin.sync_with_stdio(false);
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

const char* FinishName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kError:
      return "error";
  }
  return "error";
}

void PrintJson(const ChatSession& session, const Answer& answer) {
  JsonWriter out;
  out.BeginObject().Key("model").String(session.model().id).Key("text").String(answer.text);
  out.Key("finish_reason").String(FinishName(answer.reason));
  out.Key("usage").BeginObject();
  out.Key("prompt_tokens").Int(answer.usage.prompt_tokens).Key("completion_tokens").Int(answer.usage.completion_tokens);
  out.Key("prefill_ms").Double(answer.usage.prefill_ms).Key("decode_ms").Double(answer.usage.decode_ms);
  out.Key("handovers").Int(answer.usage.handovers);
  out.Key("joules");
  answer.usage.energy_source != "unavailable" ? out.Double(answer.usage.joules) : out.Null();
  out.Key("joules_source").String(answer.usage.energy_source);
  out.EndObject().Key("plan").BeginObject().Key("placement").String(answer.plan.placement);
  out.Key("prefill").String(answer.plan.prefill_devices).Key("decode").String(answer.plan.decode_devices);
  out.Key("predicted_prefill_ms").Double(answer.plan.predicted_first_token_ms);
  out.Key("predicted_token_ms").Double(answer.plan.predicted_token_ms).EndObject().EndObject();
  PrintLine(stdout, out.text());
}

// What to say to the model: the words, what is piped in, or both.
Result<std::string> PromptOf(const RunFlags& flags) {
  std::string prompt = fmt::format("{}", fmt::join(flags.prompt_words, " "));
  if (::isatty(STDIN_FILENO) == 0 && flags.prompt_words.empty()) prompt = ReadStandardInput();
  if (prompt.empty()) return InvalidArgument("the prompt is empty; give it as an argument or on standard input");
  return prompt;
}

Status AnswerOnce(ChatSession& session, const RunFlags& flags) {
  LEM_ASSIGN_OR_RETURN(const std::string prompt, PromptOf(flags));
  const auto on_text = [&](const std::string& text) {
    if (flags.json) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  const CancelToken& interrupt = CancelOnInterrupt();
  LEM_ASSIGN_OR_RETURN(const Answer answer, flags.raw ? session.Complete(prompt, on_text, interrupt)
                                                      : session.Say(prompt, on_text, interrupt));
  if (flags.json) {
    PrintJson(session, answer);
  } else if (!flags.raw) {
    std::fputc('\n', stdout);
  }
  std::fflush(stdout);
  if (flags.stats || (::isatty(STDERR_FILENO) != 0 && !flags.raw && !flags.json)) {
    PrintLine(stderr, DescribeSpeed(answer.usage));
  }
  if (answer.reason == FinishReason::kCancelled) return Cancelled("interrupted");
  return OkStatus();
}

// What the answers must be; null if nothing was asked for.
Result<std::shared_ptr<const Grammar>> GrammarOf(const RunFlags& flags) {
  const bool is_schema = !flags.schema_file.empty();
  if (!is_schema && flags.grammar_file.empty()) return nullptr;
  const std::string& file = is_schema ? flags.schema_file : flags.grammar_file;
  LEM_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  const bool is_gbnf = text.find("::=") != std::string::npos;
  const GrammarPiece piece = is_schema ? GrammarPiece::JsonSchema(text)
                             : is_gbnf ? GrammarPiece::Gbnf(text)
                                       : GrammarPiece::Lark(text);
  auto grammar = Grammar::Compile(piece);
  if (!grammar.ok()) return std::move(grammar).status().WithContext(file);
  return grammar;
}

Status Run(RunFlags flags) {
  if (!LogEnabled(LogLevel::kDebug)) SetLogLevel(LogLevel::kWarning);
  flags.answer.sampling.seed = flags.seed;
  LEM_TRY(CheckSamplingParams(flags.answer.sampling));
  LEM_ASSIGN_OR_RETURN(flags.answer.grammar, GrammarOf(flags));
  LEM_ASSIGN_OR_RETURN(const ModelRef model, ResolveOrPull(flags.model));
  LocalServiceOptions options;
  options.models = {{model.id, model.path}};
  options.num_threads = flags.threads;
  options.engine.context_length = flags.context_length;
  LEM_TRY(SetPlacement(flags.placement, options));
  // One who names devices for a single answer wants it from them, and one who says "handover" wants it to begin at
  // once.
  options.engine.wait_for_devices = !options.place_by_cost && !options.engine.placement.handover;
  options.engine.deterministic = flags.deterministic;
  options.engine.cache_prefixes = true;
  options.engine.speculation = EngineOptions::Speculation::kWherePaying;
  options.cache_folder = CacheDir();
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ChatSession> session, ChatSession::Create(std::move(options)));
  session->options() = flags.answer;
  session->SetSystem(flags.system);
  const bool interactive = flags.prompt_words.empty() && ::isatty(STDIN_FILENO) != 0;
  Status answered = interactive ? RunRepl(*session) : AnswerOnce(*session, flags);
  if (!flags.trace_file.empty()) {
    LEM_TRY(WriteFileAtomic(flags.trace_file, ChromeTraceJson(session->service().Trace())));
  }
  return answered;
}

}  // namespace

void RegisterRun(CLI::App& app, Action& action) {
  auto flags = std::make_shared<RunFlags>();  // shared by the parser and the action
  CLI::App* command = app.add_subcommand("run", "Answer a prompt, or chat");
  SamplingParams& sampling = flags->answer.sampling;
  command->add_option("model", flags->model, "Name of a model (pulled if it is not here), or a .gguf file")->required();
  command->add_option("prompt", flags->prompt_words, "What to say; without it, standard input or a conversation");
  command->add_option("--system", flags->system, "System prompt");
  command->add_flag("--raw", flags->raw,
                    "Continue the text as it is: no chat template, only the continuation on stdout");
  command
      ->add_option("--max-tokens", flags->answer.max_tokens, "Most tokens to generate; -1 = until the context is full")
      ->check(CLI::Range(-1, 1 << 30));
  command->add_option("--temperature", sampling.temperature, "0 = always the likeliest token")->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Keep the k likeliest tokens; 0 = all")->capture_default_str();
  command->add_option("--top-p", sampling.top_p, "Keep the likeliest tokens up to this mass")->capture_default_str();
  command->add_option("--min-p", sampling.min_p, "Drop tokens below this share of the likeliest")
      ->capture_default_str();
  command->add_option("--repeat-penalty", sampling.repetition_penalty, "1 = off")->capture_default_str();
  command->add_option("--seed", flags->seed, "The same seed gives the same answer");
  command->add_option("--stop", flags->answer.stop, "End the answer before this text; may be repeated");
  CLI::Option* schema =
      command->add_option("--schema", flags->schema_file, "A file with a JSON Schema: every answer is JSON under it");
  command
      ->add_option("--grammar", flags->grammar_file,
                   "A file with a grammar (GBNF, or like Lark's): every answer matches it")
      ->excludes(schema);
  command->add_option("--threads", flags->threads, "Compute threads; 0 = one a processor")->check(CLI::Range(0, 1024));
  command->add_option("--context-length", flags->context_length, "Longest prompt and answer in tokens; 0 = the model's")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option(
          "--placement", flags->placement.placement,
          "Which device runs which part of the model, such as \"layers 0-14 vulkan:0; rest cpu\"; \"auto\": by "
          "predicted cost (`lem explain`)")
      ->capture_default_str();
  command->add_option("--objective", flags->placement.objective, "What \"auto\" aims at: latency, energy or balanced")
      ->capture_default_str();
  command->add_option("--device", flags->placement.devices, "A device that \"auto\" may use; may be repeated");
  command->add_option("--trace", flags->trace_file,
                      "Write the devices' timelines to this file, predicted beside measured, for chrome://tracing");
  command->add_flag("--deterministic", flags->deterministic,
                    "Prompts and answers in one numerics class; refuses placements that mix them");
  command->add_flag("--stats", flags->stats, "Print speeds on stderr");
  command->add_flag("--json", flags->json, "Print one JSON object with the answer and its numbers");
  command->callback([flags, &action] { action = [flags] { return Finish(Run(*flags)); }; });
}

}  // namespace lem
