// Who had what answered when: a line of JSON for each answer, and for each request that was refused for its key. Never
// any text of prompts or answers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "base/status.h"

namespace lem {

struct AuditedAnswer {
  std::string request_id, principal, remote_address, model;
  std::string plan;     // as in x-lem-plan
  std::string outcome;  // "complete", or the code of what broke it off
  int64_t prompt_tokens = 0, completion_tokens = 0;
  double duration_ms = 0;
};

struct AuditedRequest {
  std::string request_id, principal, remote_address, method, route;
  int status = 0;
};

// Thread-safe.
class AuditLog {
 public:
  // Lines are added at the end of the file, which others cannot read. Errors: PermissionDenied.
  static Result<std::unique_ptr<AuditLog>> Open(const std::filesystem::path& file);
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  void Write(const AuditedAnswer& answer);
  void Write(const AuditedRequest& request);

 private:
  explicit AuditLog(int fd) : fd_(fd) {}
  void WriteLine(std::string line);

  const int fd_;
  std::mutex mutex_;
};

}  // namespace lem
