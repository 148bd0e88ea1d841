#include "runtime/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "base/spelling.h"
#include "base/toml.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLogLevels[] = {"debug", "info", "warning", "error", "off"};  // in the order of LogLevel

// The table. 0 as "decide for me" keeps every number a plain number.
constexpr ConfigKey kKeys[] = {
    {"server.host", "Address to listen on; \"none\": no TCP, only unix_socket.",
     [](Config& c) -> ConfigKey::Target { return &c.server.host; }},
    {"server.port", "TCP port to listen on; 0 takes a free one.",
     [](Config& c) -> ConfigKey::Target { return &c.server.port; }, 0, 65535},
    {"server.models", "Models to load at start: names, .gguf files or folders that hold one.",
     [](Config& c) -> ConfigKey::Target { return &c.server.models; }},
    {"server.aliases",
     "Other names of models, as \"gpt-*=smollm2:135m\"; the table [aliases] has them as 'gpt-*' = 'smollm2:135m'.",
     [](Config& c) -> ConfigKey::Target { return &c.server.aliases; }},
    {"server.max_connections", "Connections open at once; further ones wait to be accepted.",
     [](Config& c) -> ConfigKey::Target { return &c.server.max_connections; }, 1, 100'000},
    {"server.ollama_port", "A second port for clients that look for Ollama, which has 11434; 0 is none.",
     [](Config& c) -> ConfigKey::Target { return &c.server.ollama_port; }, 0, 65535},
    {"server.unix_socket", "Path of a Unix socket to listen on, too, for this user only; or \"none\".",
     [](Config& c) -> ConfigKey::Target { return &c.server.unix_socket; }},
    {"server.tls_certificate", "PEM file of the server's certificate: TCP ports speak TLS then; or \"none\".",
     [](Config& c) -> ConfigKey::Target { return &c.server.tls_certificate; }},
    {"server.tls_key", "PEM file of the certificate's key, without a passphrase; or \"none\".",
     [](Config& c) -> ConfigKey::Target { return &c.server.tls_key; }},
    {"server.tls_generate", "TCP ports speak TLS with a certificate that the server makes itself and keeps.",
     [](Config& c) -> ConfigKey::Target { return &c.server.tls_generate; }},
    {"server.offline", "Connect to no other machine: models are not pulled.",
     [](Config& c) -> ConfigKey::Target { return &c.server.offline; }},
    {"server.api_keys", "File of the keys that clients must have (lem key add writes it); \"none\": anyone may.",
     [](Config& c) -> ConfigKey::Target { return &c.server.api_keys; }},
    {"server.audit_log", "File that gets a line for each answer: who, when, which model, how many tokens; or \"none\".",
     [](Config& c) -> ConfigKey::Target { return &c.server.audit_log; }},
    {"server.allowed_hosts", "Host names served besides loopback ones and the address: \"box.lan\", \"*.lan\".",
     [](Config& c) -> ConfigKey::Target { return &c.server.allowed_hosts; }},
    {"server.allowed_origins",
     "Origins of web pages that may use the server besides local ones: \"https://app.example.com\".",
     [](Config& c) -> ConfigKey::Target { return &c.server.allowed_origins; }},
    {"server.max_body_bytes", "Largest body of a request.",
     [](Config& c) -> ConfigKey::Target { return &c.server.max_body_bytes; }, 1024, 1 << 30},
    {"engine.threads", "Threads that compute; 0 takes one for each processor.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.threads; }, 0, 1024},
    {"engine.context_length", "Longest prompt and answer in tokens; 0 takes what the model and the memory allow.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.context_length; }, 0, 16'777'216},
    {"engine.kv_cache_bytes", "Memory for the keys and values of all sequences; 0 decides by context_length.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.kv_cache_bytes; }, 0, std::numeric_limits<int64_t>::max()},
    {"engine.placement",
     "Which device runs which part of a model, such as \"layers 0-14 vulkan:0; rest cpu\"; \"auto\": for each request "
     "by predicted cost.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.placement; }},
    {"engine.objective", "What \"auto\" aims at: latency, energy or balanced.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.objective; }},
    {"engine.devices", "Devices that \"auto\" may use; without any, those that are worth it by the profile.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.devices; }},
    {"engine.deterministic", "Prompts and answers in one numerics class; refuses placements that mix them.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.deterministic; }},
    {"engine.cache_prefixes", "Prompts that begin as earlier ones take over their keys and values.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.cache_prefixes; }},
    {"engine.prefix_file_bytes",
     "On disk for each model, in the cache folder: keys and values of prompts, kept when the model is unloaded or the "
     "server ends, and used from then on. They tell what was asked; 0 keeps nothing.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.prefix_file_bytes; }, 0, int64_t{1} << 40},
    {"engine.speculate", "Tokens that probably follow are computed beforehand where it pays; no answer changes.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.speculate; }},
    {"engine.admission",
     "What a running request is promised: \"guarantee\" keeps memory for the longest answer it asks for, \"maximise\" "
     "runs as many as have room and interrupts the least urgent when it runs out.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.admission; }},
    {"engine.memory_bytes", "For weights, keys and values of all models; 0 takes what is available.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.memory_bytes; }, 0, int64_t{1} << 50},
    {"engine.keep_alive_s",
     "How long a model stays loaded that was loaded because somebody asked for it and is not used any more; -1 is for "
     "ever.",
     [](Config& c) -> ConfigKey::Target { return &c.engine.keep_alive_s; }, -1, 1'000'000'000},
    {"log.level", "Least serious message to log.", [](Config& c) -> ConfigKey::Target { return &c.log.level; }},
};

std::string_view SectionOf(const ConfigKey& key) { return key.name.substr(0, key.name.find('.')); }

const ConfigKey* FindKey(std::string_view name) {
  const auto it = std::ranges::find(kKeys, name, &ConfigKey::name);
  return it == std::end(kKeys) ? nullptr : &*it;
}

Status WrongValue(std::string_view where, const ConfigKey& key, std::string_view found) {
  return InvalidArgument("{}: {} is {}; allowed: {}", where, key.name, found, key.Allowed());
}

// Sets one key from a TOML value; `where` begins the message.
Status SetFromToml(const ConfigKey& key, const TomlValue& value, std::string_view where, Config& config) {
  const ConfigKey::Target target = key.target(config);
  if (int64_t* const* number = std::get_if<int64_t*>(&target)) {
    const int64_t* found = value.As<int64_t>();
    if (found == nullptr) return WrongValue(where, key, value.TypeName());
    if (*found < key.min || *found > key.max) return WrongValue(where, key, fmt::to_string(*found));
    **number = *found;
    return OkStatus();
  }
  if (bool* const* flag = std::get_if<bool*>(&target)) {
    const bool* found = value.As<bool>();
    if (found == nullptr) return WrongValue(where, key, value.TypeName());
    **flag = *found;
    return OkStatus();
  }
  if (std::vector<std::string>* const* list = std::get_if<std::vector<std::string>*>(&target)) {
    const TomlValue::Array* found = value.As<TomlValue::Array>();
    if (found == nullptr) return WrongValue(where, key, value.TypeName());
    (*list)->clear();
    for (const TomlValue& element : *found) {
      const std::string* text = element.As<std::string>();
      if (text == nullptr) return WrongValue(where, key, fmt::format("a list that holds {}", element.TypeName()));
      (*list)->push_back(*text);
    }
    return OkStatus();
  }
  const std::string* text = value.As<std::string>();
  if (text == nullptr) return WrongValue(where, key, value.TypeName());
  if (LogLevel* const* level = std::get_if<LogLevel*>(&target)) {
    const auto it = std::ranges::find(kLogLevels, *text);
    if (it == std::end(kLogLevels)) return WrongValue(where, key, JsonQuote(*text));
    **level = static_cast<LogLevel>(it - std::begin(kLogLevels));
    return OkStatus();
  }
  if (text->empty()) return WrongValue(where, key, "empty");
  *std::get<std::string*>(target) = *text;
  return OkStatus();
}

// Sets one key from words of the command line or the environment.
Status SetFromWords(const ConfigKey& key, std::span<const std::string> words, std::string_view where, Config& config) {
  const ConfigKey::Target target = key.target(config);
  TomlValue value;
  if (std::holds_alternative<std::vector<std::string>*>(target)) {
    TomlValue::Array list;
    for (const std::string& word : words) list.push_back({word, {}});
    value.value = std::move(list);
  } else if (words.size() != 1) {
    return WrongValue(where, key, fmt::format("given {} times", words.size()));
  } else if (std::holds_alternative<int64_t*>(target)) {
    int64_t number = 0;
    const std::string& word = words.front();
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc() || end != word.data() + word.size()) return WrongValue(where, key, JsonQuote(word));
    value.value = number;
  } else if (std::holds_alternative<bool*>(target)) {
    const std::string& word = words.front();
    if (word != "true" && word != "false") return WrongValue(where, key, JsonQuote(word));
    value.value = word == "true";
  } else {
    value.value = words.front();
  }
  return SetFromToml(key, value, where, config);
}

// The keys of one section, or the sections if it is empty: what an unknown key could have been.
std::vector<std::string> KnownNames(std::string_view section) {
  std::vector<std::string> names;
  for (const ConfigKey& key : kKeys) {
    const std::string_view own = SectionOf(key);
    if (section.empty() && (names.empty() || names.back() != own)) names.emplace_back(own);
    if (own == section) names.emplace_back(key.name.substr(own.size() + 1));
  }
  return names;
}

std::string Where(std::string_view name, TomlPosition position) {
  return fmt::format("{}:{}:{}", name, position.line, position.column);
}

// The one section whose keys are free.
constexpr std::string_view kAliases = "aliases";

Status ApplyAliases(const TomlMember& section, std::string_view name, Config& config) {
  const TomlValue::Table* table = section.value.As<TomlValue::Table>();
  if (table == nullptr) {
    return InvalidArgument("{}: {} is {}; allowed: a section [{}] of names and models",
                           Where(name, section.value.position), section.key, section.value.TypeName(), section.key);
  }
  for (const TomlMember& member : *table) {
    const std::string* model = member.value.As<std::string>();
    if (model == nullptr) {
      return InvalidArgument("{}: {}.{} is {}; allowed: the name of a model", Where(name, member.value.position),
                             section.key, member.key, member.value.TypeName());
    }
    config.server.aliases.push_back(fmt::format("{}={}", member.key, *model));
  }
  return OkStatus();
}

Status ApplySection(const TomlMember& section, std::string_view name, Config& config) {
  const std::vector<std::string> keys = KnownNames(section.key);
  if (keys.empty()) {
    std::vector<std::string> sections = KnownNames("");
    sections.emplace_back(kAliases);
    return InvalidArgument("{}: unknown section [{}]{} (sections: {})", Where(name, section.key_position), section.key,
                           DidYouMean(section.key, sections), fmt::join(sections, ", "));
  }
  const TomlValue::Table* table = section.value.As<TomlValue::Table>();
  if (table == nullptr) {
    return InvalidArgument("{}: {} is {}; allowed: a section [{}] with the keys {}",
                           Where(name, section.value.position), section.key, section.value.TypeName(), section.key,
                           fmt::join(keys, ", "));
  }
  for (const TomlMember& member : *table) {
    const ConfigKey* key = FindKey(fmt::format("{}.{}", section.key, member.key));
    if (key == nullptr) {
      return InvalidArgument("{}: unknown key {}.{}{} (keys of [{}]: {})", Where(name, member.key_position),
                             section.key, member.key, DidYouMean(member.key, keys), section.key, fmt::join(keys, ", "));
    }
    LEM_TRY(SetFromToml(*key, member.value, Where(name, member.value.position), config));
  }
  return OkStatus();
}

std::vector<std::string> SplitByComma(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) words.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return words;
}

Status ApplyEnvironment(Config& config) {
  for (const ConfigKey& key : kKeys) {
    const std::string variable = key.EnvironmentName();
    const char* text = std::getenv(variable.c_str());
    if (text == nullptr || text[0] == '\0') continue;  // empty is how shells unset for one command
    const bool is_list = std::holds_alternative<std::vector<std::string>*>(key.target(config));
    const std::vector<std::string> words = is_list ? SplitByComma(text) : std::vector<std::string>{text};
    LEM_TRY(SetFromWords(key, words, fmt::format("environment {}", variable), config));
  }
  return OkStatus();
}

std::string DefaultText(const ConfigKey& key) {
  Config defaults;
  struct Writer {
    std::string operator()(const std::string* text) const { return JsonQuote(*text); }
    std::string operator()(const bool* flag) const { return *flag ? "true" : "false"; }
    std::string operator()(const int64_t* number) const { return fmt::to_string(*number); }
    std::string operator()(const std::vector<std::string>*) const { return "[]"; }
    std::string operator()(const LogLevel* level) const { return JsonQuote(kLogLevels[static_cast<size_t>(*level)]); }
  };
  return std::visit(Writer{}, key.target(defaults));
}

}  // namespace

std::string ConfigKey::EnvironmentName() const {
  std::string out = "LEM_";
  for (const char c : name) out += c == '.' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return out;
}

std::string ConfigKey::Allowed() const {
  struct Describe {
    const ConfigKey& key;
    std::string operator()(const std::string*) const { return "text"; }
    std::string operator()(const int64_t*) const {
      if (key.max == std::numeric_limits<int64_t>::max()) return fmt::format("a whole number from {}", key.min);
      return fmt::format("a whole number from {} to {}", key.min, key.max);
    }
    std::string operator()(const bool*) const { return "true or false"; }
    std::string operator()(const std::vector<std::string>*) const { return "a list of texts"; }
    std::string operator()(const LogLevel*) const { return fmt::format("{}", fmt::join(kLogLevels, ", ")); }
  };
  Config scratch;
  return std::visit(Describe{*this}, target(scratch));
}

std::span<const ConfigKey> ConfigKeys() { return kKeys; }

Status ApplyConfigText(std::string_view text, std::string_view name, Config& config) {
  LEM_ASSIGN_OR_RETURN(const TomlValue document, ParseToml(text, name));
  const TomlValue::Table& sections = *document.As<TomlValue::Table>();
  for (const TomlMember& section : sections) {
    if (section.key != kAliases) LEM_TRY(ApplySection(section, name, config));
  }
  // Last, since they add to a list that a key of [server] sets.
  for (const TomlMember& section : sections) {
    if (section.key == kAliases) LEM_TRY(ApplyAliases(section, name, config));
  }
  return OkStatus();
}

Result<Config> LoadConfig(const std::optional<fs::path>& file, std::span<const ConfigFlag> flags) {
  Config config;
  const fs::path path = file.value_or(ConfigDir() / "lem.toml");
  Result<std::string> text = ReadFile(path);
  if (text.ok()) {
    LEM_TRY(ApplyConfigText(*text, path.string(), config));
  } else if (file.has_value() || text.status().code() != StatusCode::kNotFound) {
    return std::move(text).status().WithContext("configuration");
  }
  LEM_TRY(ApplyEnvironment(config));
  for (const ConfigFlag& flag : flags) {
    const ConfigKey* key = FindKey(flag.key);
    if (key == nullptr) return Internal("flag {} sets the unknown key {}", flag.flag, flag.key);
    LEM_TRY(SetFromWords(*key, flag.values, flag.flag, config));
  }
  return config;
}

std::string SampleConfig() {
  std::string out;
  std::string_view section;
  for (const ConfigKey& key : kKeys) {
    const std::string_view own = SectionOf(key);
    if (own != section) out += fmt::format("{}[{}]\n", section.empty() ? "" : "\n", own);
    section = own;
    out += fmt::format("# {} Allowed: {}. Environment: {}.\n{} = {}\n", key.meaning, key.Allowed(),
                       key.EnvironmentName(), key.name.substr(own.size() + 1), DefaultText(key));
  }
  return out;
}

}  // namespace lem
