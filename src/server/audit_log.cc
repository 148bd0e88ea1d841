#include "server/audit_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "api/time_text.h"
#include "base/json.h"
#include "base/log.h"

namespace lem {

Result<std::unique_ptr<AuditLog>> AuditLog::Open(const std::filesystem::path& file) {
  constexpr mode_t kOwnerOnly = 0600;
  const int fd = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kOwnerOnly);
  if (fd < 0) return PermissionDenied("the audit log {} cannot be opened: {}", file.string(), std::strerror(errno));
  return std::unique_ptr<AuditLog>(new AuditLog(fd));
}

AuditLog::~AuditLog() { ::close(fd_); }

void AuditLog::Write(const AuditedAnswer& answer) {
  JsonWriter writer;
  writer.BeginObject().Key("time").String(NowAsText()).Key("event").String("answer");
  writer.Key("request_id").String(answer.request_id).Key("key").String(answer.principal);
  writer.Key("remote").String(answer.remote_address).Key("model").String(answer.model);
  writer.Key("plan").String(answer.plan).Key("outcome").String(answer.outcome);
  writer.Key("prompt_tokens").Int(answer.prompt_tokens).Key("completion_tokens").Int(answer.completion_tokens);
  writer.Key("duration_ms").Double(answer.duration_ms).EndObject();
  WriteLine(writer.Take());
}

void AuditLog::Write(const AuditedRequest& request) {
  JsonWriter writer;
  writer.BeginObject().Key("time").String(NowAsText()).Key("event").String("request");
  writer.Key("request_id").String(request.request_id).Key("key").String(request.principal);
  writer.Key("remote").String(request.remote_address).Key("method").String(request.method);
  writer.Key("route").String(request.route).Key("status").Int(request.status).EndObject();
  WriteLine(writer.Take());
}

void AuditLog::WriteLine(std::string line) {
  line += '\n';
  const std::lock_guard lock(mutex_);
  if (::write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    LogError("the audit log cannot be written: {}", std::strerror(errno));
  }
}

}  // namespace lem
