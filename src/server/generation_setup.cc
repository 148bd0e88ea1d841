#include "server/generation_setup.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "server/fill_in_the_middle.h"
#include "text/chat_prompt.h"
#include "text/tool_calls/generic_tools.h"

namespace lem {
namespace {

// No vocabulary in use has longer tokens (runs of spaces are the longest): text of more bytes than this for each token
// of the context is refused before a template and a tokeniser work on it.
constexpr size_t kMaxBytesPerToken = 512;

tl::unexpected<RequestError> Refuse(Status status, std::string param, std::string code) {
  return tl::unexpected(RequestError{std::move(status), std::move(param), std::move(code)});
}

// What must be known of the model and cannot be checked by a parser. `param`: where the prompt came from.
std::optional<RequestError> CheckLimits(const RequestOptions& options, const ModelInfo& model, size_t prompt_size,
                                        const std::string& param) {
  for (const auto& [token, bias] : options.sampling.logit_bias) {
    if (token >= model.tokenizer->vocab_size()) {
      return RequestError{InvalidArgument("logit_bias names token {}; the tokens of model '{}' are 0 to {}", token,
                                          model.id, model.tokenizer->vocab_size() - 1),
                          "logit_bias", "invalid_value"};
    }
  }
  // With no limit on the answer there must be room for one token of it.
  const int64_t answer = options.max_tokens < 0 ? 1 : options.max_tokens;
  if (static_cast<int64_t>(prompt_size) + answer > model.context_length) {
    return RequestError{
        InvalidArgument("the prompt has {} tokens and the answer may have {}; together at most {} fit the context of "
                        "model '{}': shorten the prompt or lower max_tokens",
                        prompt_size, answer, model.context_length, model.id),
        param, "context_length_exceeded"};
  }
  return std::nullopt;
}

GenerateRequest MakeRequest(const GenerationContext& context, const RequestOptions& options, const ModelInfo& model,
                            std::vector<TokenId> prompt) {
  GenerateRequest request;
  request.id = context.request_id;
  request.model = model.id;
  request.prompt = std::move(prompt);
  request.max_tokens = options.max_tokens;
  request.sampling = options.sampling;
  request.ignore_end_tokens = options.ignore_end_tokens;
  SetUrgency(*context.urgency, request);
  request.cache_salt = request.tenant + "/" + options.cache_salt;  // what others asked is not to be found out by time
  request.num_logprobs = options.num_logprobs;
  request.deadline = context.deadline;
  return request;
}

// Adds the choices of one prompt. Each has a seed of its own, made from the request's, or they would all be equal.
std::optional<RequestError> AddChoices(const GenerationContext& context, const RequestOptions& options,
                                       const GenerateRequest& request, const std::optional<EchoedPrompt>& echo,
                                       const std::string& param, AnswerSetup& setup) {
  for (int32_t i = 0; i < options.num_choices; ++i) {
    GenerateRequest one = request;
    if (one.sampling.seed) *one.sampling.seed += static_cast<uint64_t>(i);
    Result<std::unique_ptr<Generation>> generation = context.service.Submit(std::move(one));
    if (!generation.ok()) {
      const bool is_prompt = generation.status().code() == StatusCode::kInvalidArgument;
      return RequestError{generation.status(), is_prompt ? param : "", ""};
    }
    setup.choices.push_back({std::move(*generation), echo, i == 0});
  }
  setup.prompt_tokens += static_cast<int32_t>(request.prompt.size());
  return std::nullopt;
}

// True if the prompt ends with the tag that opens the reasoning: the template has written it.
bool EndsInReasoning(const std::vector<TokenId>& prompt, const ToolFormat& format, const Tokenizer& tokenizer) {
  if (format.reasoning.open.empty()) return false;
  constexpr size_t kMaxTagTokens = 16;
  const auto tail = std::span(prompt).last(std::min(prompt.size(), kMaxTagTokens));
  std::string text = tokenizer.Decode(tail, SpecialTokens::kParse);
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return text.ends_with(format.reasoning.open);
}

std::vector<std::string> NamesOf(const JsonArray& tools) {
  std::vector<std::string> names;
  for (const JsonValue& tool : tools) {
    const auto& name = tool.at("function").at("name").as_string();
    names.emplace_back(name.data(), name.size());
  }
  return names;
}

// An answer that has a form ends where its form does: a stop string inside a JSON string would leave half a value.
AnswerSetup MakeSetup(const RequestOptions& options, const ModelInfo& model) {
  AnswerSetup setup;
  setup.model = model.id;
  setup.tokenizer = model.tokenizer;
  if (options.form.kind == OutputForm::Kind::kText) setup.stop = options.stop;
  setup.with_logprobs = options.num_logprobs >= 0;
  return setup;
}

ParseResult<std::vector<TokenId>> TokensOf(const Prompt& prompt, SpecialTokens special, const ModelInfo& model,
                                           const std::string& param) {
  if (const auto* tokens = std::get_if<std::vector<TokenId>>(&prompt)) {
    if (tokens->empty()) return Refuse(InvalidArgument("{} has no tokens; at least one is needed", param), param, "");
    for (size_t i = 0; i < tokens->size(); ++i) {
      if ((*tokens)[i] < model.tokenizer->vocab_size()) continue;
      return Refuse(InvalidArgument("{}[{}] is {}; the tokens of model '{}' are 0 to {}: were they made by another "
                                    "tokenizer? Send text instead",
                                    param, i, (*tokens)[i], model.id, model.tokenizer->vocab_size() - 1),
                    param, "invalid_value");
    }
    return *tokens;
  }
  std::vector<TokenId> tokens =
      model.tokenizer->Encode(std::get<std::string>(prompt), special, AddSpecial::kModelDefault);
  // Nothing to continue: what the model has seen before every text.
  if (tokens.empty() && model.tokenizer->bos()) tokens.push_back(*model.tokenizer->bos());
  if (tokens.empty()) {
    return Refuse(InvalidArgument("{} is empty; this model needs at least one token", param), param, "");
  }
  return tokens;
}

ParseResult<std::vector<TokenId>> FillInTokensOf(const Prompt& prompt, const std::string& suffix,
                                                 const ModelInfo& model) {
  const auto* text = std::get_if<std::string>(&prompt);
  if (text == nullptr) return Refuse(InvalidArgument("suffix needs a prompt that is text"), "suffix", "");
  auto tokens = EncodeFillIn(*model.tokenizer, *text, suffix);
  if (!tokens) {
    return Refuse(
        InvalidArgument("model '{}' was not trained to fill in text before a suffix; leave suffix out, or use a "
                        "model that was",
                        model.id),
        "suffix", "unsupported_parameter");
  }
  return *std::move(tokens);
}

EchoedPrompt EchoOf(const Prompt& prompt, const std::vector<TokenId>& tokens, SpecialTokens special, bool with_tokens,
                    const Tokenizer& tokenizer) {
  EchoedPrompt echo;
  const auto* text = std::get_if<std::string>(&prompt);
  // Of token ids everything is shown; of text what the client wrote, without the BOS that was put before it.
  if (text == nullptr) special = SpecialTokens::kParse;
  echo.text = text != nullptr ? *text : tokenizer.Decode(tokens, special);
  if (!with_tokens) return echo;
  bool begins = true;
  for (const TokenId token : tokens) {
    // As Decode does it: the first piece of a text may lose a leading space.
    std::string bytes = begins ? tokenizer.Decode({&token, 1}, special) : tokenizer.TokenText(token, special);
    begins = begins && tokenizer.TokenText(token, special).empty();
    echo.token_bytes.push_back(std::move(bytes));
  }
  return echo;
}

// The prompt of a chat. Takes messages and template arguments out of the request.
ParseResult<std::vector<TokenId>> EncodePrompt(const ModelInfo& model, ChatRequest& request) {
  size_t content_bytes = request.answer_prefix.size();
  for (const ChatMessage& message : request.messages) content_bytes += message.content.size();
  if (content_bytes / kMaxBytesPerToken > static_cast<size_t>(model.context_length)) {
    return Refuse(InvalidArgument("the messages have {} bytes, which cannot fit the context of model '{}', {} tokens: "
                                  "shorten them",
                                  content_bytes, model.id, model.context_length),
                  "messages", "context_length_exceeded");
  }
  ChatTemplateInputs inputs;
  inputs.messages = WithGenericTools(std::move(request.messages), request.tools, model.chat_template->tool_support());
  inputs.tools = request.tools;
  inputs.extra = std::move(request.template_arguments);
  Result<std::vector<TokenId>> prompt = EncodeChat(*model.chat_template, *model.tokenizer, std::move(inputs));
  if (!prompt.ok()) {
    // Whatever a template objects to, or runs out of, comes from this request.
    return Refuse(InvalidArgument("the chat template of model '{}' refuses the messages: {}", model.id,
                                  prompt.status().message()),
                  "messages", "template_error");
  }
  std::ranges::copy(model.tokenizer->Encode(request.answer_prefix, SpecialTokens::kAsText, AddSpecial::kNone),
                    std::back_inserter(*prompt));
  return *std::move(prompt);
}

}  // namespace

ParseResult<ModelInfo> FindReadyModel(InferenceService& service, const std::string& id, Clock::time_point deadline) {
  Result<ModelInfo> model = service.FindModel(id);
  if (!model.ok()) return Refuse(model.status(), "model", "model_not_found");
  // What was unloaded comes back when it is asked for, also a model that was there from the start; and what is there
  // does not go before it is used.
  if (model->on_demand || model->state == ModelState::kUnloaded || model->state == ModelState::kReady) {
    const std::string own_id = model->id;  // not an alias, which would be looked up again
    const Status loaded = service.EnsureLoaded(own_id, deadline);
    if (!loaded.ok()) return Refuse(loaded, "model", "model_failed");
    model = service.FindModel(own_id);
    if (!model.ok()) return Refuse(model.status(), "model", "model_not_found");
  }
  if (model->state == ModelState::kLoading) {
    return Refuse(Unavailable("model '{}' is still loading; try again soon", model->id), "model", "model_loading");
  }
  if (model->state == ModelState::kFailed) {
    return Refuse(Unavailable("{}", model->error.message()), "model", "model_failed");
  }
  return *std::move(model);
}

ParseResult<std::vector<TokenId>> EncodeChatPrompt(const ModelInfo& model, ChatRequest request) {
  return EncodePrompt(model, request);
}

ParseResult<int64_t> CountChatTokens(const ModelInfo& model, ChatRequest request) {
  const auto prompt = EncodePrompt(model, request);
  if (!prompt) return tl::unexpected(prompt.error());
  return static_cast<int64_t>(prompt->size());
}

ParseResult<AnswerSetup> SetUpChat(const GenerationContext& context, const ModelInfo& model, ChatRequest request) {
  const std::string param = "messages";
  if (!context.urgency) return tl::unexpected(context.urgency.error());
  auto prompt = EncodePrompt(model, request);
  if (!prompt) return tl::unexpected(prompt.error());
  if (auto error = CheckLimits(request.options, model, prompt->size(), param)) return tl::unexpected(*error);
  const ToolFormat format = DetectToolFormat(*model.chat_template, *model.tokenizer);
  AnswerSetup setup = MakeSetup(request.options, model);
  if (request.tool_choice.kind == ToolChoice::Kind::kRequired) setup.stop.clear();
  if (request.options.form.kind == OutputForm::Kind::kText) setup.end_markers = model.chat_template->end_markers();
  setup.at_text_start = request.answer_prefix.empty();
  const bool starts_in_reasoning = EndsInReasoning(*prompt, format, *model.tokenizer);
  auto grammar = CompileChatGrammar(context.grammars, {*model.tokenizer, format, starts_in_reasoning}, request);
  if (!grammar) return tl::unexpected(grammar.error());
  if (!request.tools.empty() || !format.reasoning.open.empty() || format.family == ToolFamily::kHarmony) {
    AnswerParserOptions parser{NamesOf(request.tools)};
    if (!request.parallel_tool_calls) parser.max_calls = 1;
    parser.starts_in_reasoning = starts_in_reasoning;
    setup.parsing = {format, std::move(parser)};
  }
  GenerateRequest generate = MakeRequest(context, request.options, model, *std::move(prompt));
  generate.grammar = *std::move(grammar);
  if (auto error = AddChoices(context, request.options, generate, std::nullopt, param, setup)) {
    return tl::unexpected(*error);
  }
  return setup;
}

ParseResult<AnswerSetup> SetUpCompletion(const GenerationContext& context, const ModelInfo& model,
                                         const CompletionRequest& request) {
  if (!context.urgency) return tl::unexpected(context.urgency.error());
  RequestOptions options = request.options;
  if (request.best_of > options.num_choices) {
    options.num_choices = request.best_of;
    options.num_logprobs = std::max(options.num_logprobs, 0);  // by which the best are chosen
  }
  AnswerSetup setup = MakeSetup(options, model);
  setup.at_text_start = false;
  auto grammar = CompileOutputGrammar(context.grammars, options.form);
  if (!grammar) return tl::unexpected(grammar.error());
  // All prompts are checked before the first is queued.
  std::vector<std::vector<TokenId>> prompts;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const std::string param = request.prompts.size() > 1 ? fmt::format("prompt[{}]", i) : "prompt";
    auto tokens = request.suffix.empty() ? TokensOf(request.prompts[i], request.special_tokens, model, param)
                                         : FillInTokensOf(request.prompts[i], request.suffix, model);
    if (!tokens) return tl::unexpected(tokens.error());
    if (auto error = CheckLimits(options, model, tokens->size(), param)) return tl::unexpected(*error);
    prompts.push_back(*std::move(tokens));
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    std::optional<EchoedPrompt> echo;
    if (request.echo) {
      echo = EchoOf(request.prompts[i], prompts[i], request.special_tokens, setup.with_logprobs, *model.tokenizer);
    }
    GenerateRequest generate = MakeRequest(context, options, model, std::move(prompts[i]));
    generate.grammar = *grammar;
    generate.prompt_logprobs = request.echo && setup.with_logprobs;
    if (auto error = AddChoices(context, options, generate, echo, "prompt", setup)) {
      return tl::unexpected(*error);
    }
  }
  return setup;
}

}  // namespace lem
