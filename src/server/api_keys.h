// Who may use the server: keys with scopes, an end, and budgets of requests and tokens. Only their hashes are kept.
//
// The file, TOML, written by `lem key add`:
//   [[key]]
//   name = "laptop"                  # for the audit log
//   sha256 = "9f86d0..."             # of the key
//   scopes = ["inference"]           # also "models" (pull, delete) and "admin" (metrics, plans); default inference
//   expires = "2027-01-31"           # UTC, also with a time: "2027-01-31T12:00:00Z"; default never
//   requests_per_minute = 60         # default and 0: no limit
//   tokens_per_minute = 20000        # prompt and answer; the same
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "http/options.h"
#include "request/request.h"

namespace lem {

enum class Scope : uint8_t { kInference, kModels, kAdmin };

struct ApiKey {
  std::string name;
  std::string sha256;  // 64 lower-case hex digits
  std::vector<Scope> scopes = {Scope::kInference};
  std::optional<int64_t> expires_unix_s;
  int64_t requests_per_minute = 0, tokens_per_minute = 0;  // 0 = no limit
};

// What is left of a budget: it fills evenly up to a minute's worth, and may go below zero.
class TokenBucket {
 public:
  explicit TokenBucket(int64_t per_minute) : per_minute_(static_cast<double>(per_minute)), level_(per_minute_) {}
  // Seconds until there is `amount`; 0 = now.
  double SecondsUntil(double amount, Clock::time_point now);
  void Take(double amount) { level_ -= amount; }

 private:
  const double per_minute_;  // 0 = no limit
  double level_;
  Clock::time_point filled_at_{};
};

// Thread-safe.
class ApiKeys {
 public:
  // Errors: InvalidArgument with line and column, NotFound, PermissionDenied (others may write the file).
  static Result<std::unique_ptr<ApiKeys>> Load(const std::filesystem::path& file);
  static Result<std::vector<ApiKey>> Parse(std::string_view text, std::string_view name);
  explicit ApiKeys(const std::vector<ApiKey>& keys);

  // Why the request may not be made; sets its principal if it may. `pattern` is that of the route, "" if there is none.
  // now_unix_s: for the keys' end.
  std::optional<http::Denial> Check(http::Request& request, std::string_view pattern, Clock::time_point now,
                                    int64_t now_unix_s);
  // Takes an answer's tokens from the budget of the key that it was for.
  void Charge(std::string_view principal, int64_t tokens, Clock::time_point now);

 private:
  struct Entry {
    ApiKey key;
    TokenBucket requests, tokens;
  };
  Entry* Find(std::string_view presented);

  std::mutex mutex_;
  std::vector<Entry> entries_;  // guarded by mutex_; never grows after the constructor
};

// Hash of a key, as the file has it.
std::string HashOfKey(std::string_view key);
// "lem-" and 43 characters that nobody can guess.
Result<std::string> MakeKey();

// The scope that a route asks for; nullopt: anyone may use it, without a key.
std::optional<Scope> ScopeOf(std::string_view pattern);

}  // namespace lem
