// From what a request asks of the form of its answer, and from its tools, to the grammar that the answer has to match.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "api/request_error.h"
#include "api/text_request.h"
#include "grammar/grammar.h"
#include "text/tool_calls/tool_format.h"

namespace lem {

// Grammars of earlier requests, least recently used first out. Thread-safe. Compiling is done by the caller's thread;
// two that want the same at once may both compile it.
class GrammarCache {
 public:
  static constexpr size_t kMaxGrammars = 32;
  // Of all keys, which hold the schemas, and of all grammars with the states and masks that they have made so far.
  static constexpr size_t kMaxKeyBytes = size_t{16} << 20, kMaxBytes = size_t{256} << 20;

  explicit GrammarCache(size_t max_bytes = kMaxBytes) : max_bytes_(max_bytes) {}

  // Errors: as Grammar::Compile.
  Result<std::shared_ptr<const Grammar>> Find(const std::string& key, const GrammarPiece& piece);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const Grammar> grammar;  // shared with the requests that use it
  };
  void Shrink();
  const size_t max_bytes_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;
  size_t key_bytes_ = 0;
};

// What the prompt and the model add to it.
struct GrammarContext {
  const Tokenizer& tokenizer;
  const ToolFormat& format;
  bool starts_in_reasoning = false;  // the prompt ends with the opening tag
};

// Null if the answer is free: no form is asked for, and no tool may be called. Errors: InvalidArgument with the
// parameter that asked for what cannot be.
ParseResult<std::shared_ptr<const Grammar>> CompileOutputGrammar(GrammarCache& cache, const OutputForm& form);
ParseResult<std::shared_ptr<const Grammar>> CompileChatGrammar(GrammarCache& cache, const GrammarContext& context,
                                                               const ChatRequest& request);

}  // namespace lem
