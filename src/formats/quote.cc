#include "formats/quote.h"

#include <fmt/format.h>

#include "base/log.h"

namespace lem {

std::string QuoteForMessage(std::string_view name) {
  constexpr size_t kMaxBytes = 80;  // with the rest of the message about two lines of a terminal
  if (name.size() <= kMaxBytes) return fmt::format("'{}'", EscapeForTerminal(name));
  size_t end = kMaxBytes;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) --end;  // not inside a UTF-8 character
  return fmt::format("'{}...'", EscapeForTerminal(name.substr(0, end)));
}

}  // namespace lem
