// What a tool may be called, in every dialect.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace lem {

inline constexpr size_t kMaxTools = 512;
inline constexpr size_t kMaxToolNameBytes = 128;
inline constexpr std::string_view kToolNameForm = "1 to 128 letters, digits, '_', '-', '.', ':' and '/'";

inline bool IsToolName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxToolNameBytes && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.' || c == ':' || c == '/';
  });
}

}  // namespace lem
