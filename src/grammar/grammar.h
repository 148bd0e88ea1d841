// Constrained output: a grammar is compiled once, and a matcher tells at every position which tokens may follow.
//
//   Result<std::shared_ptr<const Grammar>> grammar = Grammar::Compile(GrammarPiece::JsonSchema(text));
//   Result<std::unique_ptr<GrammarMatcher>> matcher = GrammarMatcher::Create(*grammar, vocabulary);
//   matcher->FillMask(bits);      // while the device works on the same step
//   matcher->Accept(token);       // after sampling
//
// It fails closed: what is not supported, or is over a limit, is an error that names the thing; it is never free text.
// GrammarPiece, Grammar and GrammarVocabulary are immutable and thread-safe; a GrammarMatcher belongs to one sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer.h"

namespace lem {

// White space between the tokens of JSON. kFree: none, one or two blanks, or a line break with an indentation; enough
// for what every JSON writer prints, and bounded, so that no model can write blanks for ever. kCompact: none.
enum class JsonWhitespace : uint8_t { kFree, kCompact };

// What an output may be; pieces join to bigger ones. Cheap to copy. Nothing is checked before Grammar::Compile.
class GrammarPiece {
 public:
  static constexpr uint32_t kUnbounded = UINT32_MAX;

  // Exactly these bytes.
  static GrammarPiece Literal(std::string_view text);
  // A regular expression (ECMA-262 with Rust's (?i) and (?s), no look-around, no back-references) that the whole piece
  // has to match.
  static GrammarPiece Regex(std::string_view pattern);
  // A JSON Schema in JSON: drafts 4 to 2020-12. Properties come in the order of the schema.
  static GrammarPiece JsonSchema(std::string_view schema, JsonWhitespace whitespace = JsonWhitespace::kFree);
  // Any JSON object; any JSON value.
  static GrammarPiece JsonObject(JsonWhitespace whitespace = JsonWhitespace::kFree);
  static GrammarPiece JsonAny(JsonWhitespace whitespace = JsonWhitespace::kFree);
  // llama.cpp's grammar language; it starts at `root`. Lark-like: it starts at `start`; upper-case names are regular.
  static GrammarPiece Gbnf(std::string_view grammar);
  static GrammarPiece Lark(std::string_view grammar);

  static GrammarPiece Choice(std::vector<GrammarPiece> options);
  static GrammarPiece ChoiceOf(std::span<const std::string> literals);
  static GrammarPiece Sequence(std::vector<GrammarPiece> parts);
  static GrammarPiece Repeat(GrammarPiece piece, uint32_t min, uint32_t max = kUnbounded);
  static GrammarPiece Optional(GrammarPiece piece) { return Repeat(std::move(piece), 0, 1); }
  // Valid UTF-8 in which none of `without` (not empty) occurs: free text up to a trigger that follows as a Literal.
  static GrammarPiece Text(std::vector<std::string> without = {});
  // One token by its id, whatever its text: control tokens such as <|tool_call|>.
  static GrammarPiece Token(TokenId id);

  struct Node;
  const Node& node() const { return *node_; }

 private:
  explicit GrammarPiece(std::shared_ptr<const Node> node) : node_(std::move(node)) {}
  std::shared_ptr<const Node> node_;  // shared by all pieces that hold it
};

// Of compiling. The defaults hold for requests from outside; a grammar over one is InvalidArgument that names it.
struct GrammarLimits {
  size_t max_source_bytes = size_t{4} << 20;  // of one schema, pattern or grammar text
  size_t max_depth = 200;                     // nesting of a schema, pattern, grammar text or piece
  size_t max_nodes = 400'000;                 // of the compiled form, about 40 bytes each
  int64_t max_time_ms = 5'000;                // compiling, wall clock; 0 = none
};

class GrammarEngine;
class GrammarVocabulary;

class Grammar {
 public:
  // Errors: InvalidArgument for what the piece gets wrong, what is not supported (with its name, where it is and what
  // to do), what no output can match, and for a limit.
  static Result<std::shared_ptr<const Grammar>> Compile(const GrammarPiece& piece, const GrammarLimits& limits = {});
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  // With the states and masks that its matchers have made so far.
  size_t MemoryBytes() const;

 private:
  friend class GrammarMatcher;
  struct Rep;
  explicit Grammar(std::unique_ptr<Rep> rep);
  std::shared_ptr<GrammarEngine> EngineFor(std::shared_ptr<const GrammarVocabulary> vocabulary) const;
  std::unique_ptr<Rep> rep_;
};

// The tokens of a model, in the form that masks are made from; one a model, made once (some ten milliseconds).
class GrammarVocabulary {
 public:
  static std::shared_ptr<const GrammarVocabulary> Create(const Tokenizer& tokenizer);
  // From texts; an empty one is a control token. For tests.
  static std::shared_ptr<const GrammarVocabulary> FromTexts(std::span<const std::string> texts,
                                                            std::span<const TokenId> end_tokens);
  ~GrammarVocabulary();
  GrammarVocabulary(const GrammarVocabulary&) = delete;
  GrammarVocabulary& operator=(const GrammarVocabulary&) = delete;

  size_t size() const;        // token ids are 0 to size() - 1
  size_t mask_words() const;  // of 32 tokens each

  struct Rep;
  const Rep& rep() const { return *rep_; }

 private:
  explicit GrammarVocabulary(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

// Where one sequence stands in a grammar. A step over a budget leaves it failed: masks are empty, Accept says no and
// status() tells why; nothing else ends it.
class GrammarMatcher {
 public:
  static std::unique_ptr<GrammarMatcher> Create(std::shared_ptr<const Grammar> grammar,
                                                std::shared_ptr<const GrammarVocabulary> vocabulary);
  ~GrammarMatcher();
  GrammarMatcher(const GrammarMatcher&) = delete;
  GrammarMatcher& operator=(const GrammarMatcher&) = delete;

  // Sets bit (id % 32) of bits[id / 32] for every token that may follow and clears all others. The tokens that end an
  // answer are in the mask where MayEnd(). Waits while another sequence of the same grammar is in here (microseconds).
  // REQUIRES: bits.size() == vocabulary.mask_words(). Errors: status(), or FailedPrecondition if no token may follow.
  Status FillMask(std::span<uint32_t> bits);
  // Moves over a token. False, and nothing moves, if the mask has it not. A token that ends an answer finishes.
  bool Accept(TokenId token);
  // As Accept for bytes without regard to tokens, for text that was forced or is replayed.
  bool AcceptBytes(std::string_view bytes);
  // The answer may end here.
  bool MayEnd() const;
  // It ended: a token that ends an answer was accepted.
  bool Finished() const;
  // Nothing but the end may follow.
  bool MustEnd();
  // The bytes that have to follow here, up to `max_bytes`; empty if there is a choice, or the answer may end.
  std::string ForcedBytes(size_t max_bytes = 256);
  // Tokens for ForcedBytes() whose borders no longer token can cross, so that a model step can be left out for each.
  std::vector<TokenId> ForcedTokens(const Tokenizer& tokenizer, size_t max_bytes = 256);
  // Undoes the last `count` calls of Accept or AcceptBytes that said true. REQUIRES: count <= num_accepted().
  void Rollback(size_t count);
  size_t num_accepted() const;
  std::unique_ptr<GrammarMatcher> Clone() const;
  Status status() const;

 private:
  struct Rep;
  explicit GrammarMatcher(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace lem
