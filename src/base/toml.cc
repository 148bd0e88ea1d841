#include "base/toml.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace lem {
namespace {

struct BrokenAssumption {};
[[noreturn]] void ThrowBrokenAssumption() { throw BrokenAssumption(); }

}  // namespace
}  // namespace lem

// toml++ 3.3 takes for granted that a key follows '[' and '[[' at the beginning of a line; with NDEBUG it tells so the
// optimiser. So its assertions stay on here, and are errors of the text.
#undef NDEBUG
#define TOML_ASSERT(expr) (static_cast<bool>(expr) ? void() : ::lem::ThrowBrokenAssumption())
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace lem {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;  // a person wrote it; more is a mistake
constexpr size_t kMaxKeyDots = 16;             // nothing here has more than three

TomlPosition PositionOf(const toml::source_region& source) { return {source.begin.line, source.begin.column}; }

// Depth is bounded: toml++ refuses more than 256 nested values, and CheckKeys more than 16 dots in the key of each.
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

// One past the last byte of the text in quotes that begins at `begin`, or of what there is of it.
size_t QuotedEnd(std::string_view text, size_t begin) {
  const std::string_view three = text.substr(begin, 3);
  const bool multi_line = three == "\"\"\"" || three == "'''";
  const std::string_view quote = multi_line ? three : three.substr(0, 1);
  for (size_t at = begin + quote.size(); at < text.size(); ++at) {
    if (text.substr(at).starts_with(quote)) {
      at += quote.size();
      // Up to two quotes more belong to a multi-line text.
      for (size_t more = 0; multi_line && more < 2 && at < text.size() && text[at] == quote[0]; ++more) ++at;
      return at;
    }
    if (!multi_line && text[at] == '\n') return at;
    if (text[at] == '\\' && quote[0] == '"') ++at;
  }
  return text.size();
}

// Each dot of a key makes one more table within a table, and toml++ destroys those by recursion.
Status CheckKeys(std::string_view text, std::string_view name) {
  size_t num_dots = 0;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      at = QuotedEnd(text, at);
      continue;
    }
    if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
      continue;
    }
    if (std::string_view("\n=,[]{}").find(c) != std::string_view::npos) num_dots = 0;
    if (c == '.' && ++num_dots > kMaxKeyDots) {
      return InvalidArgument("{}:{}:1: a key has more than {} dots", name,
                             1 + std::ranges::count(text.substr(0, at), '\n'), kMaxKeyDots);
    }
    ++at;
  }
  return OkStatus();
}

// One past the last byte of each line.
std::vector<size_t> LineEnds(std::string_view text) {
  std::vector<size_t> ends;
  for (size_t at = 0; at < text.size(); at = ends.back())
    ends.push_back(std::min(text.find('\n', at), text.size() - 1) + 1);
  return ends;
}

// True if toml++ stops at something that it takes for granted.
bool BreaksAssumption(std::string_view text) {
  try {
    (void)toml::parse(text);
    return false;
  } catch (const BrokenAssumption&) {
    return true;
  }
}

// The line, counted from 1, where it stops: it reads from front to back, so the first lines that stop it end there.
size_t LineOfBrokenAssumption(std::string_view text) {
  const std::vector<size_t> ends = LineEnds(text);
  const auto line =
      std::ranges::partition_point(ends, [&](size_t end) { return !BreaksAssumption(text.substr(0, end)); });
  return static_cast<size_t>(line - ends.begin()) + 1;
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
  LEM_TRY(CheckKeys(text, name));
  try {
    const toml::parse_result parsed = toml::parse(text);
    if (parsed) return Convert(parsed.table());
    const toml::parse_error& error = parsed.error();
    return InvalidArgument("{}:{}:{}: {}", name, error.source().begin.line, error.source().begin.column,
                           error.description());
  } catch (const BrokenAssumption&) {
    return InvalidArgument("{}:{}:1: expected a table header such as [server] or [[model]]", name,
                           LineOfBrokenAssumption(text));
  }
}

}  // namespace lem
