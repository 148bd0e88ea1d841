// Status and Result<T>: how every module reports failure. No exception leaves a module.
//
// A Status is a code of gRPC's canonical set plus a message a person can act on: it names the thing, the value found,
// the value allowed and what to do. OK is a null pointer, so success costs nothing. Statuses are values: copy freely.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace lem {

enum class StatusCode : uint8_t {
  kOk = 0,
  kCancelled,           // the caller went away or asked to stop
  kUnknown,             // an error from outside that fits no other code
  kInvalidArgument,     // the request is wrong whatever the state of the system
  kDeadlineExceeded,    // time ran out
  kNotFound,            // the named thing does not exist
  kAlreadyExists,       // the named thing exists and must not
  kPermissionDenied,    // known caller, not allowed
  kResourceExhausted,   // memory, disk, quota or queue is full; may pass later
  kFailedPrecondition,  // the system is in the wrong state for this
  kAborted,             // lost a race; may be tried again
  kOutOfRange,          // past the valid range of a thing that has one
  kUnimplemented,       // not supported by this program
  kInternal,            // a bug here
  kUnavailable,         // a part is down; try again later
  kDataLoss,            // bytes are corrupt or truncated
  kUnauthenticated,     // unknown caller
};

// Stable lower-case name: "invalid_argument".
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() noexcept = default;
  // REQUIRES: code != kOk.
  Status(StatusCode code, std::string message);
  Status(const Status& other);
  Status& operator=(const Status& other);
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;
  ~Status() = default;

  bool ok() const noexcept { return rep_ == nullptr; }
  StatusCode code() const noexcept { return rep_ ? rep_->code : StatusCode::kOk; }
  const std::string& message() const noexcept;
  // "invalid_argument: message", or "ok".
  std::string ToString() const;

  // Seconds after which the same may work, where that is known; else 0.
  double retry_after_s() const noexcept { return rep_ ? rep_->retry_after_s : 0; }

  // The same code with "context: " put before the message; OK stays OK.
  Status WithContext(std::string_view context) &&;
  Status WithRetryAfter(double seconds) &&;

 private:
  struct Rep {
    StatusCode code;
    std::string message;
    double retry_after_s = 0;
  };
  std::unique_ptr<Rep> rep_;
};

inline Status OkStatus() { return Status(); }

// Makes a Status of one code from a fmt format string: InvalidArgument("top_p is {}; allowed: 0 to 1", value).
#define LEM_DEFINE_STATUS_MAKER(Name)                                                     \
  template <typename... Args>                                                             \
  Status Name(fmt::format_string<Args...> format, Args&&... args) {                       \
    return Status(StatusCode::k##Name, fmt::format(format, std::forward<Args>(args)...)); \
  }
LEM_DEFINE_STATUS_MAKER(Cancelled)
LEM_DEFINE_STATUS_MAKER(Unknown)
LEM_DEFINE_STATUS_MAKER(InvalidArgument)
LEM_DEFINE_STATUS_MAKER(DeadlineExceeded)
LEM_DEFINE_STATUS_MAKER(NotFound)
LEM_DEFINE_STATUS_MAKER(AlreadyExists)
LEM_DEFINE_STATUS_MAKER(PermissionDenied)
LEM_DEFINE_STATUS_MAKER(ResourceExhausted)
LEM_DEFINE_STATUS_MAKER(FailedPrecondition)
LEM_DEFINE_STATUS_MAKER(Aborted)
LEM_DEFINE_STATUS_MAKER(OutOfRange)
LEM_DEFINE_STATUS_MAKER(Unimplemented)
LEM_DEFINE_STATUS_MAKER(Internal)
LEM_DEFINE_STATUS_MAKER(Unavailable)
LEM_DEFINE_STATUS_MAKER(DataLoss)
LEM_DEFINE_STATUS_MAKER(Unauthenticated)
#undef LEM_DEFINE_STATUS_MAKER

// A T or the Status that says why there is none. REQUIRES: a Result is never made from an OK Status.
template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Status> {
 public:
  using Base = tl::expected<T, Status>;
  using Base::Base;
  Result(Status status) : Base(tl::unexpected<Status>(std::move(status))) {}  // NOLINT(google-explicit-constructor)
  Result(Base&& base) : Base(std::move(base)) {}                              // NOLINT(google-explicit-constructor)

  bool ok() const noexcept { return this->has_value(); }
  // REQUIRES: !ok() for a meaningful answer; OK otherwise.
  Status status() const& { return ok() ? Status() : this->error(); }
  Status status() && { return ok() ? Status() : std::move(this->error()); }
};

#define LEM_CONCAT_INNER(a, b) a##b
#define LEM_CONCAT(a, b) LEM_CONCAT_INNER(a, b)

// Returns from the function with the error of `expression` (a Status), if it has one.
#define LEM_TRY(expression)                                                                       \
  do {                                                                                            \
    if (::lem::Status lem_try_status = (expression); !lem_try_status.ok()) return lem_try_status; \
  } while (false)

// LEM_ASSIGN_OR_RETURN(auto x, F()): x = the value, or return the error.
#define LEM_ASSIGN_OR_RETURN(declaration, expression) \
  LEM_ASSIGN_OR_RETURN_IMPL(LEM_CONCAT(lem_result_, __LINE__), declaration, expression)
#define LEM_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                      \
  if (!result.ok()) return std::move(result).status();             \
  declaration = std::move(*result)

}  // namespace lem
