// TOML: the one reader (toml++ behind our own value type), for the configuration and the user's model list.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace lem {

// Where something stands in the text; both count from 1.
struct TomlPosition {
  uint32_t line = 0;
  uint32_t column = 0;
};

struct TomlMember;

// A parsed value. Plain data: copy freely.
struct TomlValue {
  using Array = std::vector<TomlValue>;
  using Table = std::vector<TomlMember>;  // in the order of the text
  struct Date {};                         // dates and times, which nothing here uses, are not kept

  std::variant<bool, int64_t, double, std::string, Array, Table, Date> value;
  TomlPosition position;

  template <typename T>
  const T* As() const {
    return std::get_if<T>(&value);
  }
  // For messages: "a whole number", "text", "a list", ...
  std::string_view TypeName() const;
};

struct TomlMember {
  std::string key;
  TomlPosition key_position;
  TomlValue value;
};

// Parses a document of at most 1 MiB; the result is a Table. Errors: InvalidArgument "NAME:LINE:COLUMN: reason", where
// `name` is what to call the text in messages.
Result<TomlValue> ParseToml(std::string_view text, std::string_view name);

}  // namespace lem
