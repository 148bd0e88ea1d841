// The program's configuration: flag > environment LEM_<SECTION>_<KEY> > lem.toml > default.
//
// Every key stands once, in the table of config.cc; messages, the sample file and the flags are made from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/log.h"
#include "base/status.h"

namespace lem {

struct Config {
  struct Server {
    std::string host = "127.0.0.1";
    int64_t port = 5366;
    std::vector<std::string> models;
    std::vector<std::string> aliases;  // "NAME=MODEL"; also those of the table [aliases]
    int64_t max_connections = 1024;
    int64_t ollama_port = 0;
    std::string unix_socket = "none";
    std::string tls_certificate = "none";
    std::string tls_key = "none";
    bool tls_generate = false;
    bool offline = false;
    std::string api_keys = "none";
    std::string audit_log = "none";
    std::vector<std::string> allowed_hosts;
    std::vector<std::string> allowed_origins;
    int64_t max_body_bytes = 10 << 20;
  };
  struct Engine {
    int64_t threads = 0;
    int64_t context_length = 0;
    int64_t kv_cache_bytes = 0;
    std::string placement = "auto";
    std::string objective = "latency";
    std::vector<std::string> devices;
    bool deterministic = false;
    bool cache_prefixes = true;
    int64_t prefix_file_bytes = 0;
    bool speculate = true;
    std::string admission = "maximise";
    int64_t memory_bytes = 0;
    int64_t keep_alive_s = 300;
  };
  struct Log {
    LogLevel level = LogLevel::kInfo;
  };
  Server server;
  Engine engine;
  Log log;
};

struct ConfigKey {
  // What a key sets decides what it takes.
  using Target = std::variant<std::string*, int64_t*, bool*, std::vector<std::string>*, LogLevel*>;

  std::string_view name;     // "server.port": section and key of lem.toml
  std::string_view meaning;  // one line for people
  Target (*target)(Config& config);
  int64_t min = 0, max = 0;  // both allowed; for whole numbers only

  std::string EnvironmentName() const;  // "LEM_SERVER_PORT"
  std::string Allowed() const;          // "a whole number from 0 to 65535"
};

// All keys, section by section.
std::span<const ConfigKey> ConfigKeys();

// What a command-line flag said. A flag given several times has several values; only lists take them.
struct ConfigFlag {
  std::string key;   // "server.port"
  std::string flag;  // "--port", for messages
  std::vector<std::string> values;
};

// Reads `file`, or <ConfigDir>/lem.toml if none is named and that exists. In the environment a list is separated by
// commas. Errors: NotFound (named file), InvalidArgument "FILE:LINE:COLUMN: key, value found, what is allowed".
Result<Config> LoadConfig(const std::optional<std::filesystem::path>& file, std::span<const ConfigFlag> flags);

// Sets what a lem.toml of this text sets and leaves the rest. `name` is what to call the text in messages.
Status ApplyConfigText(std::string_view text, std::string_view name, Config& config);

// A lem.toml with every key at its default and its meaning as a comment.
std::string SampleConfig();

}  // namespace lem
