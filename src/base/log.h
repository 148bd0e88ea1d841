// Log lines to stderr: LogInfo("model {} loaded in {} ms", ...). Thread-safe. Client text is escaped (no CR, LF, ESC or
// bidi controls reach the terminal). The level comes from SetLogLevel; the default is kInfo.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace lem {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

void SetLogLevel(LogLevel level);
bool LogEnabled(LogLevel level);
void LogMessage(LogLevel level, std::string_view message);

// The text with every control or bidi-override character replaced by an escape such as \x1b or \u202e.
std::string EscapeForTerminal(std::string_view text);

#define LEM_DEFINE_LOG(Name)                                                           \
  template <typename... Args>                                                          \
  void Log##Name(fmt::format_string<Args...> format, Args&&... args) {                 \
    if (LogEnabled(LogLevel::k##Name))                                                 \
      LogMessage(LogLevel::k##Name, fmt::format(format, std::forward<Args>(args)...)); \
  }
LEM_DEFINE_LOG(Debug)
LEM_DEFINE_LOG(Info)
LEM_DEFINE_LOG(Warning)
LEM_DEFINE_LOG(Error)
#undef LEM_DEFINE_LOG

}  // namespace lem
