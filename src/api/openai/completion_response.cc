// Log probabilities have the form of the older API: arrays side by side, one element a token; text_offset counts code
// points of the choice's text.
#include "api/openai/completion_response.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "text/detokenizer.h"

namespace lem::openai {
namespace {

// A token as a JSON string; one that is no valid UTF-8 by itself is "bytes:\xe2\x80", as OpenAI has it.
std::string TokenName(const std::string& bytes) {
  if (IsWholeUtf8(bytes)) return bytes;
  std::string name = "bytes:";
  for (const char byte : bytes) fmt::format_to(std::back_inserter(name), "\\x{:02x}", static_cast<unsigned char>(byte));
  return name;
}

// One element of top_logprobs: name to log probability. The chosen token is always in it.
void WriteTop(const AnswerToken& token, JsonWriter& writer) {
  std::set<std::string> written;  // different tokens may have one name; the likeliest counts
  const auto write = [&](const TokenProbability& probability) {
    std::string name = TokenName(probability.bytes);
    if (written.contains(name)) return;
    WriteLogprob(probability.logprob, writer.Key(name));
    written.insert(std::move(name));
  };
  writer.BeginObject();
  for (const TokenProbability& candidate : token.top) write(candidate);
  write(token.chosen);
  writer.EndObject();
}

// Where the tokens of a choice begin in its text, as far as the text is known.
class OffsetCounter {
 public:
  // Offsets of the tokens of the next piece. Tokens may have bytes that are in no text (a BOS): the caller's `text` is
  // what counts at the end of the piece.
  std::vector<size_t> Add(const AnswerText& piece) {
    const size_t length = NumCodepoints(piece.text);
    std::vector<size_t> offsets;
    size_t inside = 0;
    for (const AnswerToken& token : piece.tokens) {
      offsets.push_back(total_ + std::min(inside, length));
      inside += NumCodepoints(token.chosen.bytes);
    }
    total_ += length;
    return offsets;
  }

 private:
  // Continuation bytes are not counted, so parts of code points add up.
  static size_t NumCodepoints(std::string_view text) {
    return static_cast<size_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
  }
  size_t total_ = 0;
};

void WriteLogprobs(const std::vector<AnswerToken>& tokens, const std::vector<size_t>& offsets, JsonWriter& writer) {
  writer.BeginObject();
  writer.Key("text_offset").BeginArray();
  for (const size_t offset : offsets) writer.UInt(offset);
  writer.EndArray().Key("tokens").BeginArray();
  for (const AnswerToken& token : tokens) writer.String(TokenName(token.chosen.bytes));
  writer.EndArray().Key("token_logprobs").BeginArray();
  for (const AnswerToken& token : tokens) WriteLogprob(token.chosen.logprob, writer);
  writer.EndArray().Key("top_logprobs").BeginArray();
  for (const AnswerToken& token : tokens) {
    if (std::isnan(token.chosen.logprob)) {
      writer.Null();
    } else {
      WriteTop(token, writer);
    }
  }
  writer.EndArray().EndObject();
}

class CompletionStreamWriter final : public AnswerWriter {
 public:
  CompletionStreamWriter(const Envelope& envelope, const RequestOptions& options, int32_t num_choices)
      : include_usage_(options.include_usage),
        has_logprobs_(options.num_logprobs >= 0),
        offsets_(static_cast<size_t>(num_choices)) {
    JsonWriter writer;
    BeginObject(envelope, "text_completion", writer);
    head_ = writer.Take();
  }

  bool is_stream() const override { return true; }
  WireMessages Begin() override { return {}; }

  WireMessages Text(AnswerText text) override {
    const std::vector<size_t> offsets = offsets_[static_cast<size_t>(text.choice)].Add(text);
    JsonWriter logprobs;
    if (has_logprobs_) {
      WriteLogprobs(text.tokens, offsets, logprobs);
    } else {
      logprobs.Null();
    }
    return {Chunk(text.choice, text.text, logprobs.text(), "null")};
  }

  WireMessages EndChoice(const ChoiceEnd& end) override {
    return {Chunk(end.choice, "", "null", JsonQuote(FinishReasonName(end)))};
  }

  WireMessages End(const Usage& usage) override {
    WireMessages messages;
    if (include_usage_) {
      JsonWriter writer;
      WriteUsage(usage, writer);
      messages.push_back({head_ + R"(,"choices":[],"usage":)" + writer.text() + "}", ""});
    }
    messages.push_back({"[DONE]", ""});
    return messages;
  }

  WireMessages Fail(const WireError& error) override { return {{WriteError(error), ""}, {"[DONE]", ""}}; }

 private:
  WireMessage Chunk(int32_t choice, std::string_view text, std::string_view logprobs,
                    std::string_view finish_reason) const {
    JsonWriter writer;
    writer.BeginObject();
    writer.Key("text").String(text);
    writer.Key("index").Int(choice);
    writer.Key("logprobs").Raw(logprobs);
    writer.Key("finish_reason").Raw(finish_reason).EndObject();
    return {fmt::format(R"({},"choices":[{}]{}}})", head_, writer.text(), include_usage_ ? R"(,"usage":null)" : ""),
            ""};
  }

  const bool include_usage_;
  const bool has_logprobs_;
  std::string head_;  // of every chunk, up to the choices
  std::vector<OffsetCounter> offsets_;
};

class CompletionBodyWriter final : public AnswerWriter {
 public:
  CompletionBodyWriter(Envelope envelope, const RequestOptions& options, int32_t num_choices, int32_t best_of)
      : envelope_(std::move(envelope)),
        has_logprobs_(options.num_logprobs >= 0),
        num_given_(static_cast<size_t>(options.num_choices)),
        best_of_(static_cast<size_t>(best_of)),
        choices_(static_cast<size_t>(num_choices)) {}

  bool is_stream() const override { return false; }
  WireMessages Begin() override { return {}; }

  WireMessages Text(AnswerText text) override {
    Choice& choice = choices_[static_cast<size_t>(text.choice)];
    std::ranges::move(choice.counter.Add(text), std::back_inserter(choice.offsets));
    choice.text += text.text;
    std::ranges::move(text.tokens, std::back_inserter(choice.tokens));
    return {};
  }

  WireMessages EndChoice(const ChoiceEnd& end) override {
    choices_[static_cast<size_t>(end.choice)].reason = end.reason;
    return {};
  }

  WireMessages End(const Usage& usage) override {
    JsonWriter writer;
    BeginObject(envelope_, "text_completion", writer);
    writer.Key("choices").BeginArray();
    const std::vector<size_t> given = Given();
    for (size_t i = 0; i < given.size(); ++i) {
      const Choice& choice = choices_[given[i]];
      writer.BeginObject();
      writer.Key("text").String(choice.text);
      writer.Key("index").UInt(i);
      writer.Key("logprobs");
      if (has_logprobs_) {
        WriteLogprobs(choice.tokens, choice.offsets, writer);
      } else {
        writer.Null();
      }
      writer.Key("finish_reason").String(FinishReasonName({.reason = choice.reason})).EndObject();
    }
    writer.EndArray();
    WriteUsage(usage, writer.Key("usage"));
    writer.EndObject();
    return {{writer.Take(), ""}};
  }

  WireMessages Fail(const WireError& /*error*/) override { return {}; }

 private:
  struct Choice {
    std::string text;
    std::vector<AnswerToken> tokens;
    std::vector<size_t> offsets;
    OffsetCounter counter;
    FinishReason reason = FinishReason::kStop;

    // By token, so that long answers are no worse than short ones.
    double MeanLogprob() const {
      if (tokens.empty()) return -std::numeric_limits<double>::infinity();
      double sum = 0;
      for (const AnswerToken& token : tokens) sum += std::isnan(token.chosen.logprob) ? 0 : token.chosen.logprob;
      return sum / static_cast<double>(tokens.size());
    }
  };

  // The choices that are written, prompt by prompt.
  std::vector<size_t> Given() const {
    std::vector<size_t> order(choices_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    if (best_of_ == num_given_) return order;
    std::vector<double> means;
    means.reserve(choices_.size());
    for (const Choice& choice : choices_) means.push_back(choice.MeanLogprob());
    std::vector<size_t> given;
    for (auto begin = order.begin(); begin != order.end(); begin += static_cast<ptrdiff_t>(best_of_)) {
      const auto end = begin + static_cast<ptrdiff_t>(best_of_);
      std::sort(begin, end, [&](size_t a, size_t b) { return means[a] != means[b] ? means[a] > means[b] : a < b; });
      given.insert(given.end(), begin, begin + static_cast<ptrdiff_t>(num_given_));
    }
    return given;
  }

  const Envelope envelope_;
  const bool has_logprobs_;
  const size_t num_given_, best_of_;  // of each prompt
  std::vector<Choice> choices_;
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeCompletionWriter(Envelope envelope, const RequestOptions& options,
                                                   int32_t num_choices, int32_t best_of) {
  if (options.stream) return std::make_unique<CompletionStreamWriter>(envelope, options, num_choices);
  return std::make_unique<CompletionBodyWriter>(std::move(envelope), options, num_choices, best_of);
}

}  // namespace lem::openai
