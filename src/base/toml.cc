#include "base/toml.h"

#include <algorithm>
#include <utility>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace lem {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;  // a person wrote it; more is a mistake

TomlPosition PositionOf(const toml::source_region& source) { return {source.begin.line, source.begin.column}; }

// Depth is bounded: toml++ refuses more than 256 nested values.
TomlValue Convert(const toml::node& node) {
  TomlValue out;
  out.position = PositionOf(node.source());
  node.visit([&out](const auto& typed) {
    using Node = std::remove_cvref_t<decltype(typed)>;
    if constexpr (toml::is_table<Node>) {
      TomlValue::Table table;
      for (const auto& [key, value] : typed) {
        table.push_back({std::string(key.str()), PositionOf(key.source()), Convert(value)});
      }
      // toml++ sorts by key; messages and catalogues want the author's order.
      std::ranges::sort(table, [](const TomlMember& a, const TomlMember& b) {
        return std::pair(a.key_position.line, a.key_position.column) <
               std::pair(b.key_position.line, b.key_position.column);
      });
      out.value = std::move(table);
    } else if constexpr (toml::is_array<Node>) {
      TomlValue::Array array;
      for (const toml::node& element : typed) array.push_back(Convert(element));
      out.value = std::move(array);
    } else if constexpr (toml::is_string<Node>) {
      out.value = typed.get();
    } else if constexpr (toml::is_boolean<Node>) {
      out.value = typed.get();
    } else if constexpr (toml::is_integer<Node>) {
      out.value = typed.get();
    } else if constexpr (toml::is_floating_point<Node>) {
      out.value = typed.get();
    } else {
      out.value = TomlValue::Date{};
    }
  });
  return out;
}

// toml++ 3.3 takes for granted that a key follows "[[" at the beginning of a line, and asserts it; so it is checked
// here. A line of a multi-line text that looks like a broken header is refused too.
Status CheckTableHeaders(std::string_view text, std::string_view name) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || static_cast<unsigned char>(c) >= 0x80; };
  const auto begins_key = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '"' || c == '\'';
  };
  uint32_t line = 1;
  for (size_t at = 0; at < text.size(); ++line) {
    const size_t end = std::min(text.find_first_of("\n\v\f\r", at), text.size());
    std::string_view rest = text.substr(at, end - at);
    at = end + 1;
    while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
    if (!rest.starts_with("[[")) continue;
    rest.remove_prefix(2);
    while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
    if (rest.empty() || !begins_key(rest.front())) {
      return InvalidArgument("{}:{}:1: a key must follow [[, as in [[models]]", name, line);
    }
  }
  return OkStatus();
}

}  // namespace

std::string_view TomlValue::TypeName() const {
  static constexpr std::string_view kNames[] = {"a boolean", "a whole number", "a number", "text",
                                                "a list",    "a table",        "a date"};
  return kNames[value.index()];
}

Result<TomlValue> ParseToml(std::string_view text, std::string_view name) {
  if (text.size() > kMaxBytes) {
    return InvalidArgument("{} has {} bytes; at most {} are read", name, text.size(), kMaxBytes);
  }
  LEM_TRY(CheckTableHeaders(text, name));
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return InvalidArgument("{}:{}:{}: {}", name, error.source().begin.line, error.source().begin.column,
                           error.description());
  }
  return Convert(parsed.table());
}

}  // namespace lem
