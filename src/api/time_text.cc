#include "api/time_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>

namespace lem {

std::string NowAsText() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(since_epoch - seconds);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(seconds.count()), micros.count());
}

}  // namespace lem
