#include "text/tool_calls/python_call.h"

#include <algorithm>

#include "base/json.h"
#include "text/tool_calls/json_repairer.h"

namespace lem {
namespace {

constexpr size_t kMaxCalls = 128;

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

class PythonReader {
 public:
  PythonReader(std::string_view text, const std::vector<std::string>& tools) : text_(text), tools_(tools) {}

  std::optional<std::vector<PythonCall>> Read() {
    while (SkipSpace(), pos_ < text_.size()) {
      if (!Statement()) return std::nullopt;
    }
    if (calls_.empty()) return std::nullopt;
    return std::move(calls_);
  }

 private:
  void SkipSpace() {
    while (pos_ < text_.size() && std::string_view(" \t\r\n;").find(text_[pos_]) != std::string_view::npos) ++pos_;
  }
  bool Skip(char c) {
    SkipSpace();
    if (pos_ >= text_.size() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }
  std::string_view Name() {
    SkipSpace();
    const size_t begin = pos_;
    while (pos_ < text_.size() && IsNameByte(text_[pos_])) ++pos_;
    return text_.substr(begin, pos_ - begin);
  }

  // [f(), g()] | name = f() | print(f()) | f()
  bool Statement() {
    if (Skip('[')) {
      do {
        if (!Call(Name())) return false;
      } while (Skip(','));
      return Skip(']');
    }
    std::string_view name = Name();
    if (Skip('=')) name = Name();
    if (name == "print" && std::ranges::find(tools_, name) == tools_.end()) {
      return Skip('(') && Call(Name()) && Skip(')');
    }
    return Call(name);
  }

  bool Call(std::string_view name) {
    if (std::ranges::find(tools_, name) == tools_.end() || calls_.size() >= kMaxCalls || !Skip('(')) return false;
    PythonCall call{std::string(name), "{"};
    while (!Skip(')')) {
      if (call.arguments.size() > 1 && !Skip(',')) return false;
      if (Skip(')')) break;
      const std::string_view key = Name();
      if (key.empty() || !Skip('=')) return false;
      if (call.arguments.size() > 1) call.arguments += ", ";
      call.arguments += JsonQuote(key) + ": ";
      SkipSpace();
      JsonRepairer value;
      pos_ += value.Append(text_.substr(pos_), call.arguments);
      if (!value.done()) return false;
    }
    call.arguments += '}';
    calls_.push_back(std::move(call));
    return true;
  }

  std::string_view text_;
  const std::vector<std::string>& tools_;
  size_t pos_ = 0;
  std::vector<PythonCall> calls_;
};

}  // namespace

std::optional<std::vector<PythonCall>> ParsePythonCalls(std::string_view text, const std::vector<std::string>& tools) {
  return PythonReader(text, tools).Read();
}

}  // namespace lem
