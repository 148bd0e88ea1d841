#include "server/api_keys.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <span>
#include <utility>

#include "base/file.h"
#include "base/sha256.h"
#include "base/toml.h"

namespace lem {
namespace {

constexpr std::array<std::pair<std::string_view, Scope>, 3> kScopeNames = {
    {{"inference", Scope::kInference}, {"models", Scope::kModels}, {"admin", Scope::kAdmin}}};
constexpr size_t kMaxKeys = 10'000;
constexpr int64_t kMaxPerMinute = 1'000'000'000;
constexpr size_t kRandomBytes = 32;
constexpr size_t kMaxFileBytes = 1 << 20;  // as TOML files have at most

Status Wrong(std::string_view name, TomlPosition position, std::string_view what) {
  return InvalidArgument("{}:{}:{}: {}", name, position.line, position.column, what);
}

// "2027-01-31" or "2027-01-31T12:00:00Z".
std::optional<int64_t> ParseTime(const std::string& text) {
  std::tm time{};
  const bool has_time = text.size() == 20;
  if (!has_time && text.size() != 10) return std::nullopt;
  const char* end = ::strptime(text.c_str(), has_time ? "%Y-%m-%dT%H:%M:%SZ" : "%Y-%m-%d", &time);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return static_cast<int64_t>(::timegm(&time));
}

// Reads one [[key]].
class KeyReader {
 public:
  KeyReader(std::string_view name, const TomlValue& value) : name_(name), value_(value) {}

  Result<ApiKey> Read() {
    const auto* table = value_.As<TomlValue::Table>();
    if (table == nullptr) return Wrong(name_, value_.position, "key must be a table: [[key]]");
    for (const TomlMember& member : *table) LEM_TRY(ReadMember(member));
    if (key_.name.empty()) return Wrong(name_, value_.position, "a key has no name");
    if (key_.sha256.empty()) return Wrong(name_, value_.position, "a key has no sha256");
    return key_;
  }

 private:
  Status ReadMember(const TomlMember& member) {
    const auto wrong = [&](std::string_view allowed) {
      return Wrong(name_, member.value.position,
                   fmt::format("{} of a key is {}; allowed: {}", member.key, member.value.TypeName(), allowed));
    };
    const auto* text = member.value.As<std::string>();
    if (member.key == "name") {
      if (text == nullptr || text->empty()) return wrong("a text");
      key_.name = *text;
    } else if (member.key == "sha256") {
      if (text == nullptr || text->size() != 64 || text->find_first_not_of("0123456789abcdef") != std::string::npos) {
        return wrong("64 lower-case hexadecimal digits");
      }
      key_.sha256 = *text;
    } else if (member.key == "scopes") {
      return ReadScopes(member.value);
    } else if (member.key == "expires") {
      key_.expires_unix_s = text == nullptr ? std::nullopt : ParseTime(*text);
      if (!key_.expires_unix_s) return wrong("a text such as \"2027-01-31\" or \"2027-01-31T12:00:00Z\"");
    } else if (member.key == "requests_per_minute" || member.key == "tokens_per_minute") {
      const auto* number = member.value.As<int64_t>();
      if (number == nullptr || *number < 0 || *number > kMaxPerMinute) {
        return wrong(fmt::format("a whole number from 0 to {}", kMaxPerMinute));
      }
      (member.key == "requests_per_minute" ? key_.requests_per_minute : key_.tokens_per_minute) = *number;
    } else {
      return Wrong(name_, member.key_position, fmt::format("unknown member {} of a key", member.key));
    }
    return OkStatus();
  }

  Status ReadScopes(const TomlValue& value) {
    constexpr std::string_view kAllowed = "scopes is a list of \"inference\", \"models\" and \"admin\"";
    const auto* list = value.As<TomlValue::Array>();
    if (list == nullptr) return Wrong(name_, value.position, kAllowed);
    key_.scopes.clear();
    for (const TomlValue& element : *list) {
      const auto* text = element.As<std::string>();
      const auto found =
          std::ranges::find_if(kScopeNames, [&](const auto& entry) { return text != nullptr && entry.first == *text; });
      if (found == kScopeNames.end()) return Wrong(name_, element.position, kAllowed);
      key_.scopes.push_back(found->second);
    }
    return OkStatus();
  }

  const std::string_view name_;
  const TomlValue& value_;
  ApiKey key_;
};

// What the client shows as its key.
std::string_view PresentedKey(const http::Request& request) {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view authorization = request.headers.Get("Authorization");
  if (authorization.size() > kBearer.size() &&
      http::EqualsIgnoreCase(authorization.substr(0, kBearer.size()), kBearer)) {
    return authorization.substr(kBearer.size());
  }
  return request.headers.Get("x-api-key");
}

// Takes the same time whatever differs.
bool SameHash(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

http::Denial NoKey(std::string code, std::string message) {
  return {401, std::move(code), std::move(message), {{"WWW-Authenticate", "Bearer"}}};
}

http::Denial OverBudget(const std::string& name, std::string_view what, double seconds) {
  // Nobody is told to come back in the same second.
  const auto wait = static_cast<int64_t>(std::ceil(std::clamp(seconds, 1.0, 3600.0)));
  return {429,
          "rate_limit_exceeded",
          fmt::format("the key '{}' has used up its {} per minute; try again in {} s", name, what, wait),
          {{"Retry-After", std::to_string(wait)}}};
}

}  // namespace

double TokenBucket::SecondsUntil(double amount, Clock::time_point now) {
  if (per_minute_ <= 0) return 0;
  if (filled_at_ != Clock::time_point{}) {
    const double seconds = std::chrono::duration<double>(now - filled_at_).count();
    level_ = std::min(per_minute_, level_ + seconds * per_minute_ / 60);
  }
  filled_at_ = now;
  return level_ >= amount ? 0 : (amount - level_) * 60 / per_minute_;
}

Result<std::vector<ApiKey>> ApiKeys::Parse(std::string_view text, std::string_view name) {
  LEM_ASSIGN_OR_RETURN(const TomlValue document, ParseToml(text, name));
  std::vector<ApiKey> keys;
  for (const TomlMember& member : *document.As<TomlValue::Table>()) {
    const auto* list = member.value.As<TomlValue::Array>();
    if (member.key != "key" || list == nullptr) {
      return Wrong(name, member.key_position,
                   fmt::format("unknown member {}; a file of keys has [[key]] tables", member.key));
    }
    for (const TomlValue& element : *list) {
      LEM_ASSIGN_OR_RETURN(ApiKey key, KeyReader(name, element).Read());
      if (std::ranges::find(keys, key.name, &ApiKey::name) != keys.end()) {
        return Wrong(name, element.position, fmt::format("two keys are named '{}'", key.name));
      }
      keys.push_back(std::move(key));
    }
  }
  if (keys.size() > kMaxKeys)
    return InvalidArgument("{} has {} keys; allowed: at most {}", name, keys.size(), kMaxKeys);
  return keys;
}

Result<std::unique_ptr<ApiKeys>> ApiKeys::Load(const std::filesystem::path& file) {
  struct stat info{};
  if (::stat(file.c_str(), &info) != 0) return NotFound("the file of keys {} cannot be found", file.string());
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return PermissionDenied("others may write the file of keys {}: chmod go-w it", file.string());
  }
  LEM_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxFileBytes));
  LEM_ASSIGN_OR_RETURN(const std::vector<ApiKey> keys, Parse(text, file.string()));
  if (keys.empty()) return InvalidArgument("the file of keys {} has none: add one with `lem key add`", file.string());
  return std::make_unique<ApiKeys>(keys);
}

ApiKeys::ApiKeys(const std::vector<ApiKey>& keys) {
  for (const ApiKey& key : keys) {
    entries_.push_back({key, TokenBucket(key.requests_per_minute), TokenBucket(key.tokens_per_minute)});
  }
}

// Looks at every key, so that the time tells nothing.
ApiKeys::Entry* ApiKeys::Find(std::string_view presented) {
  const std::string hash = HashOfKey(presented);
  Entry* found = nullptr;
  for (Entry& entry : entries_) {
    if (SameHash(entry.key.sha256, hash)) found = &entry;
  }
  return found;
}

std::optional<http::Denial> ApiKeys::Check(http::Request& request, std::string_view pattern, Clock::time_point now,
                                           int64_t now_unix_s) {
  const std::optional<Scope> scope = ScopeOf(pattern);
  if (!scope) return std::nullopt;
  const std::string_view presented = PresentedKey(request);
  if (presented.empty()) {
    return NoKey("missing_api_key", "this server asks for a key: send it as 'Authorization: Bearer KEY'");
  }
  const std::lock_guard lock(mutex_);
  Entry* const entry = Find(presented);
  // The same words for keys that never were and keys that are no more.
  if (entry == nullptr || (entry->key.expires_unix_s && *entry->key.expires_unix_s <= now_unix_s)) {
    return NoKey("invalid_api_key", "the key is not known here, or has expired");
  }
  const ApiKey& key = entry->key;
  if (std::ranges::find(key.scopes, *scope) == key.scopes.end()) {
    const auto name = std::ranges::find(kScopeNames, *scope, &std::pair<std::string_view, Scope>::second)->first;
    return http::Denial{403,
                        "insufficient_scope",
                        fmt::format("the key '{}' has no scope \"{}\", which this route asks for", key.name, name),
                        {}};
  }
  if (const double wait = entry->requests.SecondsUntil(1, now); wait > 0) return OverBudget(key.name, "requests", wait);
  if (const double wait = entry->tokens.SecondsUntil(1, now); wait > 0) return OverBudget(key.name, "tokens", wait);
  entry->requests.Take(1);
  request.principal = key.name;
  return std::nullopt;
}

void ApiKeys::Charge(std::string_view principal, int64_t tokens, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.key.name != principal) continue;
    (void)entry.tokens.SecondsUntil(0, now);  // fills it up to now
    entry.tokens.Take(static_cast<double>(tokens));
  }
}

std::string HashOfKey(std::string_view key) {
  Sha256 hasher;
  hasher.Update(std::as_bytes(std::span(key)));
  return hasher.FinishHex();
}

Result<std::string> MakeKey() {
  std::array<unsigned char, kRandomBytes> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return Internal("the system gives no random bytes");
  }
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string key = "lem-";
  uint32_t bits = 0;
  int num_bits = 0;
  for (const unsigned char byte : bytes) {
    bits = bits << 8 | byte;
    for (num_bits += 8; num_bits >= 6; num_bits -= 6) key += kAlphabet[bits >> (num_bits - 6) & 63];
  }
  key += kAlphabet[bits << (6 - num_bits) & 63];
  return key;
}

std::optional<Scope> ScopeOf(std::string_view pattern) {
  for (const char* open : {"/", "/health", "/ready", "/openapi.json", "/docs"}) {
    if (pattern == open) return std::nullopt;
  }
  if (pattern == "/metrics" || pattern.starts_with("/lem/")) return Scope::kAdmin;
  for (const char* managed : {"/api/pull", "/api/delete", "/api/copy", "/api/create", "/api/push", "/api/blobs"}) {
    if (pattern.starts_with(managed)) return Scope::kModels;
  }
  return Scope::kInference;
}

}  // namespace lem
