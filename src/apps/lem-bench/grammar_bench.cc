#include "apps/lem-bench/grammar_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <iostream>

#include "base/file.h"
#include "base/json.h"
#include "base/statistics.h"
#include "formats/gguf.h"
#include "grammar/grammar.h"
#include "models/gguf_tokenizer.h"

namespace lem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxSchemaBytes = size_t{16} << 20;

// Processor time of this thread: what a mask costs where other programs do not take its turn.
double ThreadMicroseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

struct MaskTimes {
  std::vector<double> wall_us, cpu_us;
};

double MicrosecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

struct Model {
  std::unique_ptr<Tokenizer> tokenizer;
  std::shared_ptr<const GrammarVocabulary> vocabulary;  // shared with the matchers
  double vocabulary_ms = 0;
};

Result<Model> LoadVocabulary(const std::filesystem::path& path) {
  LEM_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  Model model;
  LEM_ASSIGN_OR_RETURN(model.tokenizer, LoadTokenizer(std::make_shared<const GgufFile>(std::move(file))));
  const Clock::time_point begin = Clock::now();
  model.vocabulary = GrammarVocabulary::Create(*model.tokenizer);
  model.vocabulary_ms = MicrosecondsSince(begin) / 1000;
  return model;
}

// Whether the grammar lets the model write `text` in its own tokens and end there. Adds the times of every mask.
Result<bool> Accepts(GrammarMatcher& matcher, const Tokenizer& tokenizer, std::string_view text,
                     std::vector<uint32_t>& mask, MaskTimes& times) {
  const auto fill = [&]() -> Status {
    const double cpu_begin = ThreadMicroseconds();
    const Clock::time_point begin = Clock::now();
    const Status status = matcher.FillMask(mask);
    times.wall_us.push_back(MicrosecondsSince(begin));
    times.cpu_us.push_back(ThreadMicroseconds() - cpu_begin);
    return status.code() == StatusCode::kResourceExhausted ? status : OkStatus();
  };
  for (const TokenId token : tokenizer.Encode(text, SpecialTokens::kAsText, AddSpecial::kNone)) {
    LEM_TRY(fill());
    if ((mask[static_cast<size_t>(token) / 32] >> (token % 32) & 1) == 0) return false;
    if (!matcher.Accept(token)) return Internal("token {} is in the mask but not accepted", token);
  }
  LEM_TRY(fill());
  return matcher.MayEnd();
}

Status RunSchema(const Model& model, const GrammarBenchOptions& options, std::string_view schema,
                 const std::vector<std::string>& instances, JsonWriter& out) {
  const Clock::time_point begin = Clock::now();
  LEM_ASSIGN_OR_RETURN(const auto grammar,
                       Grammar::Compile(GrammarPiece::JsonSchema(
                           schema, options.compact ? JsonWhitespace::kCompact : JsonWhitespace::kFree)));
  const auto matcher = GrammarMatcher::Create(grammar, model.vocabulary);
  const double compile_ms = MicrosecondsSince(begin) / 1000;
  std::vector<uint32_t> mask(model.vocabulary->mask_words());
  MaskTimes times;
  std::vector<bool> results;
  for (const std::string& instance : instances) {
    const auto own = GrammarMatcher::Create(grammar, model.vocabulary);
    LEM_ASSIGN_OR_RETURN(const bool accepts, Accepts(*own, *model.tokenizer, instance, mask, times));
    results.push_back(accepts);
  }
  if (times.wall_us.empty()) {
    LEM_TRY(Accepts(*matcher, *model.tokenizer, {}, mask, times).status());
  }
  const double first_us = times.wall_us.front();
  out.BeginObject();
  if (options.all_masks) {
    for (const auto& [key, values] : {std::pair{"masks", &times.wall_us}, {"masks_cpu", &times.cpu_us}}) {
      out.Key(key).BeginArray();
      for (const double us : *values) out.Double(us);
      out.EndArray();
    }
  }
  out.Key("compile_ms").Double(compile_ms);
  const auto quantiles = [&](std::vector<double>& values) {
    std::ranges::sort(values);
    const auto quantile = [&](double q) {
      return values[static_cast<size_t>(std::lround(q * static_cast<double>(values.size() - 1)))];
    };
    out.BeginObject()
        .Key("p50")
        .Double(quantile(0.5))
        .Key("p99")
        .Double(quantile(0.99))
        .Key("max")
        .Double(values.back());
  };
  out.Key("mask_us");
  quantiles(times.wall_us);
  out.Key("first").Double(first_us).Key("masks").UInt(times.wall_us.size()).EndObject();
  out.Key("mask_cpu_us");
  quantiles(times.cpu_us);
  out.EndObject();
  out.Key("vocabulary_ms").Double(model.vocabulary_ms).Key("results").BeginArray();
  for (const bool accepts : results) out.String(accepts ? "accept" : "reject");
  out.EndArray().EndObject();
  return OkStatus();
}

std::string ErrorJson(const Status& status) {
  JsonWriter out;
  out.BeginObject().Key("error").String(status.message()).EndObject();
  return out.Take();
}

Status RunBatch(const Model& model, const GrammarBenchOptions& options) {
  std::string line;
  while (std::getline(std::cin, line)) {
    JsonWriter out;
    const Status status = [&]() -> Status {
      LEM_ASSIGN_OR_RETURN(const JsonValue input, ParseJson(line, {kMaxSchemaBytes, 400}));
      const JsonObject* object = input.if_object();
      const JsonValue* schema = object == nullptr ? nullptr : object->if_contains("schema");
      const JsonValue* instances = object == nullptr ? nullptr : object->if_contains("instances");
      if (schema == nullptr || instances == nullptr || !instances->is_array()) {
        return InvalidArgument("a line has to be {{\"schema\": ..., \"instances\": [\"text\", ...]}}");
      }
      std::vector<std::string> texts;
      for (const JsonValue& instance : instances->get_array()) {
        if (!instance.is_string()) return InvalidArgument("instances have to be strings with JSON in them");
        texts.emplace_back(instance.get_string());
      }
      JsonWriter text;
      text.Value(*schema);
      return RunSchema(model, options, text.text(), texts, out);
    }();
    fmt::print("{}\n", status.ok() ? out.text() : ErrorJson(status));
    std::fflush(stdout);
  }
  return OkStatus();
}

Status RunOne(const Model& model, const GrammarBenchOptions& options) {
  LEM_ASSIGN_OR_RETURN(const std::string schema, ReadFile(options.schema, kMaxSchemaBytes));
  std::vector<std::string> instances;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) instances.push_back(line);
  }
  JsonWriter out;
  LEM_TRY(RunSchema(model, options, schema, instances, out));
  fmt::print("{}\n", out.text());
  return OkStatus();
}

}  // namespace

CLI::App* AddGrammarCommand(CLI::App& app, GrammarBenchOptions& options) {
  CLI::App* command = app.add_subcommand(
      "grammar",
      "JSON instances (lines of the standard input) against a JSON Schema, token by token: which are "
      "accepted, and the time of compiling and of the masks");
  command->add_option("--model", options.model, "A .gguf file, of which the tokenizer is used")->required();
  CLI::Option* schema = command->add_option("--schema", options.schema, "A file with a JSON Schema");
  CLI::Option* batch =
      command->add_flag("--batch", options.batch,
                        R"(Read lines {"schema": ..., "instances": ["text", ...]} and answer each with a line)");
  schema->excludes(batch);
  command->add_flag("--all-masks", options.all_masks, "Tell the time of every mask");
  command->add_flag("--compact", options.compact, "No white space between the tokens of JSON");
  command->add_flag("--json", options.json, "Print JSON; there is no other form");
  return command;
}

Status RunGrammarBench(const GrammarBenchOptions& options) {
  const Status status = [&]() -> Status {
    if (!options.batch && options.schema.empty()) return InvalidArgument("--schema FILE or --batch is needed");
    LEM_ASSIGN_OR_RETURN(const Model model, LoadVocabulary(options.model));
    return options.batch ? RunBatch(model, options) : RunOne(model, options);
  }();
  if (!status.ok()) fmt::print("{}\n", ErrorJson(status));
  return status;
}

}  // namespace lem
