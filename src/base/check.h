// LEM_CHECK(condition) << "state": aborts on a programmer's error. Never reachable from user input or a file.
#pragma once

#include <sstream>

namespace lem {

// Collects the message of a failed check and aborts when destroyed.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

struct CheckVoidify {
  void operator&(std::ostream&) const {}
};

}  // namespace lem

#define LEM_CHECK(condition) \
  (condition) ? (void)0 : ::lem::CheckVoidify() & ::lem::CheckFailure(__FILE__, __LINE__, #condition).stream()
