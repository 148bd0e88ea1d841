// printf-style formatting: text % values, and the filter `format`.
#include <cmath>

#include "text/jinja/format_spec.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

class PercentFormatter {
 public:
  PercentFormatter(Heap& heap, const Str& format, const Value& args) : out_(heap), format_(format), args_(args) {}

  Result<Value> Run() {
    const std::string_view text = format_.text;
    while (pos_ < text.size()) {
      const size_t percent = std::min(text.find('%', pos_), text.size());
      out_.Append(format_, pos_, percent);
      pos_ = percent;
      if (pos_ < text.size()) LEM_TRY(Conversion());
      if (out_.heap().exhausted()) return out_.heap().status();
    }
    const size_t given = args_.kind() == Kind::kTuple ? args_.list()->size : args_.kind() == Kind::kDict ? 0 : 1;
    if (!used_keys_ && next_arg_ < given)
      return InvalidArgument("not all arguments converted during string formatting");
    return out_.Finish();
  }

 private:
  Result<Value> NextArg() {
    if (args_.kind() == Kind::kTuple) {
      if (next_arg_ < args_.list()->size) return args_.list()->items[next_arg_++];
    } else if (next_arg_ == 0) {
      ++next_arg_;
      return args_;
    }
    return InvalidArgument("not enough arguments for format string");
  }

  // A number, or '*' for the next argument; -1 if there is neither.
  Result<int64_t> Number() {
    if (Peek() == '*') {
      ++pos_;
      LEM_ASSIGN_OR_RETURN(const Value arg, NextArg());
      return TakeInt(arg, "'*' in a format");
    }
    if (Peek() < '0' || Peek() > '9') return -1;
    int64_t value = 0;
    for (; Peek() >= '0' && Peek() <= '9'; ++pos_) value = std::min<int64_t>(value * 10 + (Peek() - '0'), INT32_MAX);
    return value;
  }

  char Peek() const { return pos_ < format_.text.size() ? format_.text[pos_] : '\0'; }

  Status Conversion() {
    ++pos_;  // the percent sign
    Value arg;
    if (Peek() == '(') {
      const size_t close = format_.text.find(')', pos_);
      if (close == std::string_view::npos) return InvalidArgument("incomplete format key");
      if (args_.kind() != Kind::kDict) return InvalidArgument("format requires a mapping");
      const std::string_view key = format_.text.substr(pos_ + 1, close - pos_ - 1);
      const Value* found = args_.dict()->Find(out_.heap(), key);
      if (found == nullptr) return InvalidArgument("format: there is no key '{}'", key);
      arg = *found;
      used_keys_ = true;
      pos_ = close + 1;
    }
    FormatSpec spec;
    spec.align = '>';
    bool left = false;
    for (;; ++pos_) {
      const char flag = Peek();
      if (flag == '-') {
        left = true;
      } else if (flag == '+' || (flag == ' ' && spec.sign != '+')) {
        spec.sign = flag;
      } else if (flag == '0') {
        spec.zero = true;
      } else if (flag == '#') {
        spec.alternate = true;
      } else if (flag != ' ') {
        break;
      }
    }
    LEM_ASSIGN_OR_RETURN(spec.width, Number());
    if (spec.width < -1) left = true;  // a negative '*'
    spec.width = spec.width == -1 ? 0 : std::abs(std::max<int64_t>(spec.width, -INT32_MAX));
    if (Peek() == '.') {
      ++pos_;
      LEM_ASSIGN_OR_RETURN(spec.precision, Number());
      if (spec.precision < 0) spec.precision = 0;
    }
    while (Peek() == 'l' || Peek() == 'h' || Peek() == 'L') ++pos_;
    const char type = Peek();
    if (type == '\0') return InvalidArgument("incomplete format");
    ++pos_;
    if (type == '%') {
      out_.AppendTrusted("%");
      return OkStatus();
    }
    if (arg.is_missing()) {
      LEM_ASSIGN_OR_RETURN(arg, NextArg());
    }
    if (left) spec.align = '<';
    return Append(arg, type, left, spec);
  }

  Status Append(Value arg, char type, bool left, FormatSpec spec) {
    Heap& heap = out_.heap();
    switch (type) {
      case 's':
        return AppendFormatted(out_, Value::String(&ToStr(heap, arg)), spec);
      case 'r':
      case 'a': {
        TextBuilder repr(heap);
        Repr(repr, arg);
        return AppendFormatted(out_, repr.Finish(), spec);
      }
      case 'c':
        if (arg.is_string() && CountChars(arg.text()) == 1) return AppendFormatted(out_, arg, spec);
        spec.type = 'c';
        if (!arg.is_integral()) return InvalidArgument("%c requires an integer or a character");
        return AppendFormatted(out_, Value::Int(arg.as_int()).WithTaint(arg.tainted()), spec);
      default:
        break;
    }
    const bool is_float = std::string_view("eEfFgG").find(type) != std::string_view::npos;
    if (!is_float && std::string_view("diuoxX").find(type) == std::string_view::npos) {
      return InvalidArgument("unsupported format character '{}'", type);
    }
    if (!arg.is_number()) return InvalidArgument("%{} format: a number is required, not {}", type, TypeName(arg));
    if (!left && spec.zero) {
      spec.align = '=';
      spec.fill = "0";
    }
    if (is_float) {
      spec.type = type;
      return AppendFormatted(out_, Value::Float(AsDouble(arg)).WithTaint(arg.tainted()), spec);
    }
    if (arg.kind() == Kind::kFloat) {
      const bool decimal = type == 'd' || type == 'i' || type == 'u';
      if (!decimal) return InvalidArgument("%{} format: an integer is required, not float", type);
      if (!(std::abs(arg.as_float()) < 0x1p63)) return InvalidArgument("%d format: the float is out of range");
      arg = Value::Int(static_cast<int64_t>(arg.as_float())).WithTaint(arg.tainted());
    }
    if (arg.kind() == Kind::kBool) arg = Value::Int(arg.as_int());
    spec.type = type == 'i' || type == 'u' ? 'd' : type;
    return AppendFormatted(out_, arg, spec);
  }

  TextBuilder out_;
  const Str& format_;
  Value args_;
  size_t pos_ = 0;
  size_t next_arg_ = 0;
  bool used_keys_ = false;
};

}  // namespace

Result<Value> FormatPercent(Heap& heap, const Str& format, const Value& args) {
  return PercentFormatter(heap, format, args).Run();
}

}  // namespace lem::jinja
