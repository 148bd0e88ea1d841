// GBNF and Lark: what they accept, and what they say of errors.
#include <gtest/gtest.h>

#include "grammar/grammar.h"

namespace lem {
namespace {

bool Matches(const GrammarPiece& piece, std::string_view text) {
  const auto grammar = Grammar::Compile(piece);
  if (!grammar.ok()) {
    ADD_FAILURE() << grammar.status().message();
    return false;
  }
  const std::string texts[] = {"a", "b"};
  const TokenId ends[] = {1};
  const auto matcher = GrammarMatcher::Create(*grammar, GrammarVocabulary::FromTexts(texts, ends));
  return (text.empty() || matcher->AcceptBytes(text)) && matcher->MayEnd();
}

std::string ErrorOf(const GrammarPiece& piece) {
  const auto grammar = Grammar::Compile(piece);
  if (grammar.ok()) return "";
  EXPECT_EQ(grammar.status().code(), StatusCode::kInvalidArgument) << grammar.status().message();
  return grammar.status().message();
}

TEST(Gbnf, Arithmetic) {
  const GrammarPiece piece = GrammarPiece::Gbnf(R"g(# sums
root ::= expr "\n"
expr ::= term ([-+*/] ws term)*
term ::= num | "(" ws expr ")" |   # goes on
  ident
num  ::= [0-9]+ ws
ident ::= [a-z] [a-z0-9_]{0,3} ws
ws ::= [ \t]*
)g");
  EXPECT_TRUE(Matches(piece, "1 + (x2 * 3)\n"));
  EXPECT_TRUE(Matches(piece, "((((7))))\n"));
  EXPECT_FALSE(Matches(piece, "1 +\n"));
  EXPECT_FALSE(Matches(piece, "abcde\n"));
}

TEST(Gbnf, LiteralsAndClasses) {
  EXPECT_TRUE(Matches(GrammarPiece::Gbnf(R"(root ::= "\x41\u00e9\"" [^\n\]] .)"), "A\u00e9\"x\U0001F600"));
  EXPECT_FALSE(Matches(GrammarPiece::Gbnf(R"(root ::= [^\n\]])"), "]"));
  EXPECT_TRUE(Matches(GrammarPiece::Gbnf("root ::= (\n \"a\"\n | \"b\"\n)+\n"), "abba"));
  // Recursion at the end takes no stack.
  EXPECT_TRUE(Matches(GrammarPiece::Gbnf("root ::= \"a\" root | \"b\""), std::string(5000, 'a') + "b"));
}

TEST(Gbnf, Errors) {
  for (const auto& [grammar, message] : {
           std::pair<const char*, const char*>{"x ::= \"a\"", "root"},
           {"root ::= other", "'other' is used but not defined"},
           {"root ::= \"a", "quote"},
           {"root ::= root \"a\" | \"b\"", "left recursion"},
           {"root ::= a root | \"b\"\na ::= \"x\"?", "left recursion"},
           {"root ::= [z-a]", "wrong way round"},
           {"root ::= \"a\"{3,2}", "wrong way round"},
           {"root ::= (\"a\"", "')'"},
           {"root ::= <think>", "<[id]>"},
           {"root \"a\"", "::="},
           {"root ::= \"a\"\nroot ::= \"b\"", "twice"},
           {"root ::= \"a\" root", "no output"},
           {"", "root"},
       }) {
    EXPECT_NE(ErrorOf(GrammarPiece::Gbnf(grammar)).find(message), std::string::npos)
        << grammar << ": " << ErrorOf(GrammarPiece::Gbnf(grammar));
  }
  EXPECT_NE(ErrorOf(GrammarPiece::Gbnf("root ::= " + std::string(100'000, '('))).find("200"), std::string::npos);
}

TEST(Gbnf, LongListsDoNotRecurse) {
  std::string list = "root ::=";
  for (int i = 0; i < 50'000; ++i) list += " x";
  EXPECT_TRUE(Matches(GrammarPiece::Gbnf(list + "\nx ::= \"a\"\n"), std::string(50'000, 'a')));
}

TEST(Lark, RulesAndTerminals) {
  const GrammarPiece piece = GrammarPiece::Lark(R"g(
%import common.INT
%ignore /[ \t]+/
start: call ("," call)*      // calls
?call: NAME "(" [args] ")" -> call
args: arg ("," arg)*
arg: INT | STRING
   | "none"i
NAME: LOWER (LOWER | "_")~0..5
LOWER: /[a-z]/
STRING: "\"" /[^"\/]*/ "\""
)g");
  EXPECT_TRUE(Matches(piece, "f(1, \"x y\"), go_on()"));
  EXPECT_TRUE(Matches(piece, " f ( None )"));
  EXPECT_FALSE(Matches(piece, "f(1"));
  EXPECT_FALSE(Matches(piece, "abcdefg()"));
  EXPECT_FALSE(Matches(piece, "f(\"a/b\")"));
}

TEST(Lark, JsonInside) {
  const GrammarPiece piece = GrammarPiece::Lark(R"(
start: "call " %json {
  "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false
} "!"
)");
  EXPECT_TRUE(Matches(piece, "call {\"n\": 3}!"));
  EXPECT_FALSE(Matches(piece, "call {\"n\": \"3\"}!"));
}

TEST(Lark, Errors) {
  for (const auto& [grammar, message] : {
           std::pair<const char*, const char*>{"x: \"a\"", "start"},
           {"start: other", "'other' is not defined"},
           {"start: A\nA: B\nB: A", "refers to itself"},
           {"start: A\nA: b\nb: \"x\"", "terminals are made of terminals"},
           {"start: /(?=a)/", "look-around"},
           {"start: start \"a\" | \"b\"", "left recursion"},
           {"%declare X\nstart: \"a\"", "%declare"},
           {"%import other.X\nstart: \"a\"", "common"},
           {"start: %json {\"type\": \"object\", \"not\": {}}", "'not'"},
           {"start: %json {\"type\": ", "JSON"},
           {"start: (\"a\"", "not closed"},
           {"start: /a", "closing"},
       }) {
    EXPECT_NE(ErrorOf(GrammarPiece::Lark(grammar)).find(message), std::string::npos)
        << grammar << ": " << ErrorOf(GrammarPiece::Lark(grammar));
  }
}

}  // namespace
}  // namespace lem
