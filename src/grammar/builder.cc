#include "grammar/builder.h"

namespace lem {
namespace {

// Blanks after a line break: an indentation of 24 levels of 4.
constexpr uint32_t kMaxIndentation = 96;

}  // namespace

ExprId GrammarBuilder::AsRule(ExprId body) {
  if (body == kEmpty || body == kEpsilon) return body;
  const auto [at, added] = rule_of_body_.try_emplace(body, 0);
  if (added) {
    at->second = AddRule("a part of the grammar");
    SetRule(at->second, body);
  }
  return exprs_.CallRule(at->second);
}

Status GrammarBuilder::CheckLimits() const {
  if (exprs_.failed()) {
    return InvalidArgument(
        "the grammar is too large: it needs more than {} nodes, or lists of more than 1000; simplify it",
        limits_.max_nodes);
  }
  const auto elapsed = std::chrono::steady_clock::now() - begin_;
  if (limits_.max_time_ms > 0 && elapsed > std::chrono::milliseconds(limits_.max_time_ms)) {
    return InvalidArgument("the grammar takes more than {} ms to compile; simplify it", limits_.max_time_ms);
  }
  return OkStatus();
}

ExprId GrammarBuilder::JsonSpace(JsonWhitespace whitespace) {
  if (whitespace == JsonWhitespace::kCompact) return kEpsilon;
  ByteSet blank = ByteSet::Of(' ');
  blank.Add('\t');
  const ExprId blanks = exprs_.Bytes(blank);
  const ExprId line =
      exprs_.Concat({exprs_.Optional(exprs_.Byte('\r')), exprs_.Byte('\n'), exprs_.Repeat(blanks, 0, kMaxIndentation)});
  // A rule, so that all places share its states and masks.
  return AsRule(exprs_.Alt(exprs_.Repeat(blanks, 0, 2), line));
}

ExprId GrammarBuilder::JsonString() {
  const ExprId quote = exprs_.Byte('"');
  return AsRule(exprs_.Concat({quote, json_text_.AnyText(), quote}));
}

ExprId GrammarBuilder::JsonNumber() {
  const ExprId digit = exprs_.Bytes(ByteSet::Range('0', '9'));
  const ExprId digits = exprs_.Repeat(digit, 1, kNoMax);
  const ExprId whole = exprs_.Alt(
      exprs_.Byte('0'), exprs_.Concat(exprs_.Bytes(ByteSet::Range('1', '9')), exprs_.Repeat(digit, 0, kNoMax)));
  ByteSet e = ByteSet::Of('e'), sign = ByteSet::Of('+');
  e.Add('E');
  sign.Add('-');
  return AsRule(
      exprs_.Concat({exprs_.Optional(exprs_.Byte('-')), whole, exprs_.Optional(exprs_.Concat(exprs_.Byte('.'), digits)),
                     exprs_.Optional(exprs_.Concat({exprs_.Bytes(e), exprs_.Optional(exprs_.Bytes(sign)), digits}))}));
}

void GrammarBuilder::MakeJson(JsonWhitespace whitespace) {
  JsonRules& json = json_[static_cast<size_t>(whitespace)];
  if (json.made) return;
  json = {true, AddRule("a JSON value"), AddRule("a JSON object"), AddRule("a JSON array")};
  const ExprId space = JsonSpace(whitespace), string = JsonString();
  const ExprId value = exprs_.CallRule(json.value);
  const ExprId separator = exprs_.Concat({space, exprs_.Byte(','), space});
  const auto list = [&](ExprId item, char open, char close) {
    const ExprId more = exprs_.Repeat(exprs_.Concat(separator, item), 0, kNoMax);
    return exprs_.Concat({exprs_.Byte(static_cast<uint8_t>(open)), space,
                          exprs_.Optional(exprs_.Concat({item, more, space})),
                          exprs_.Byte(static_cast<uint8_t>(close))});
  };
  SetRule(json.array, list(value, '[', ']'));
  SetRule(json.object, list(exprs_.Concat({string, space, exprs_.Byte(':'), space, value}), '{', '}'));
  SetRule(json.value, exprs_.Alt({exprs_.CallRule(json.object), exprs_.CallRule(json.array), string, JsonNumber(),
                                  exprs_.Literal("true"), exprs_.Literal("false"), exprs_.Literal("null")}));
}

ExprId GrammarBuilder::JsonAny(JsonWhitespace whitespace) {
  MakeJson(whitespace);
  return exprs_.CallRule(json_[static_cast<size_t>(whitespace)].value);
}

ExprId GrammarBuilder::JsonAnyObject(JsonWhitespace whitespace) {
  MakeJson(whitespace);
  return exprs_.CallRule(json_[static_cast<size_t>(whitespace)].object);
}

ExprId GrammarBuilder::JsonAnyArray(JsonWhitespace whitespace) {
  MakeJson(whitespace);
  return exprs_.CallRule(json_[static_cast<size_t>(whitespace)].array);
}

}  // namespace lem
