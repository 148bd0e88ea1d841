// lem-bench grammar: instances against a JSON Schema, token by token, and what the masks cost.
#pragma once

#include <CLI/App.hpp>
#include <filesystem>

#include "base/status.h"

namespace lem {

struct GrammarBenchOptions {
  std::filesystem::path model;   // a .gguf file, of which the tokenizer is used
  std::filesystem::path schema;  // a file with a JSON Schema; instances are the lines of the standard input
  bool batch = false;            // instead: lines {"schema": ..., "instances": ["text", ...]}, one answer a line
  bool compact = false;          // no white space between tokens
  bool all_masks = false;        // the time of every mask in the answer
  bool json = false;
};

CLI::App* AddGrammarCommand(CLI::App& app, GrammarBenchOptions& options);
// Prints one JSON object a schema: results, or {"error": ...}. Errors: as printed, so that the exit status is 1 for
// one.
Status RunGrammarBench(const GrammarBenchOptions& options);

}  // namespace lem
