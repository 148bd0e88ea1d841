// Global functions: range, namespace, dict, cycler, joiner, raise_exception, strftime_now.
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"

namespace lem::jinja {
namespace {

// Jinja's sandbox allows no longer range.
constexpr int64_t kMaxRangeItems = 100'000;
// Keeps every sum of a start and a step inside 64 bits.
constexpr int64_t kMaxRangeBound = int64_t{1} << 53;

Result<Value> FunctionRange(Interpreter& in, const Value&, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("range", args, {"start", "stop", "step"}, 1)));
  const bool only_stop = bound[1].is_missing();
  LEM_ASSIGN_OR_RETURN(const int64_t first, TakeInt(bound[0], "range(start)"));
  LEM_ASSIGN_OR_RETURN(const int64_t second, TakeIntOr(bound[1], 0, "range(stop)"));
  LEM_ASSIGN_OR_RETURN(const int64_t step, TakeIntOr(bound[2], 1, "range(step)"));
  if (step == 0) return InvalidArgument("range(step) must not be 0");
  const int64_t start = only_stop ? 0 : first;
  const int64_t stop = only_stop ? first : second;
  for (const int64_t bound_value : {start, stop, step}) {
    if (bound_value > kMaxRangeBound || bound_value < -kMaxRangeBound) {
      return ResourceExhausted("range with a bound of {}; at most {} is allowed", bound_value, kMaxRangeBound);
    }
  }
  const int64_t span = step > 0 ? stop - start : start - stop;
  const int64_t stride = step > 0 ? step : -step;
  const int64_t size = span > 0 ? (span + stride - 1) / stride : 0;
  if (size > kMaxRangeItems) {
    return ResourceExhausted("range of {} items; at most {} are allowed", size, kMaxRangeItems);
  }
  return Value::Of(in.heap().New<Range>(start, stop, step, static_cast<size_t>(size)));
}

// dict(mapping or pairs, name=value, ...)
Result<Dict*> MakeDict(Interpreter& in, std::string_view function, const Arguments& args) {
  Heap& heap = in.heap();
  auto* out = heap.New<Dict>();
  if (args.positional.size() > 1) return InvalidArgument("{}() takes at most 1 positional argument", function);
  if (!args.positional.empty()) {
    const Value& source = args.positional[0];
    if (source.kind() == Kind::kDict) {
      for (const DictEntry& entry : source.dict()->span()) out->Set(heap, entry.key, entry.value);
    } else {
      LEM_ASSIGN_OR_RETURN(const List* pairs, Items(heap, source));
      for (const Value& pair : pairs->span()) {
        LEM_ASSIGN_OR_RETURN(const List* parts, Items(heap, pair));
        if (parts->size != 2) return InvalidArgument("{}() needs pairs, got {} values", function, parts->size);
        if (!IsHashable(parts->items[0])) return InvalidArgument("unhashable type: '{}'", TypeName(parts->items[0]));
        out->Set(heap, parts->items[0], parts->items[1]);
        if (heap.exhausted()) break;
      }
    }
  }
  for (const NamedArgument& named : args.named) out->Set(heap, named.name, named.value);
  return out;
}

Result<Value> FunctionDict(Interpreter& in, const Value&, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(Dict * dict, MakeDict(in, "dict", args));
  return Value::Of(Kind::kDict, dict);
}

Result<Value> FunctionNamespace(Interpreter& in, const Value&, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(Dict * dict, MakeDict(in, "namespace", args));
  return Value::Of(Kind::kNamespace, dict);
}

Result<Value> FunctionCycler(Interpreter& in, const Value&, const Arguments& args) {
  if (args.positional.empty()) return InvalidArgument("cycler() needs at least one item");
  auto* cycler = in.heap().New<Cycler>();
  cycler->items = MakeTuple(in.heap(), args.positional).list();
  if (in.heap().exhausted()) return in.heap().status();
  return Value::Of(cycler);
}

Result<Value> FunctionJoiner(Interpreter& in, const Value&, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("joiner", args, {"sep"})));
  auto* joiner = in.heap().New<Joiner>();
  joiner->separator = bound[0].is_missing() ? MakeString(in.heap(), ", ") : bound[0];
  return Value::Of(joiner);
}

Result<Value> FunctionRaise(Interpreter& in, const Value&, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("raise_exception", args, {"message"}, 1)));
  return in.Raise(std::string(ToStr(in.heap(), bound[0]).text));
}

Result<Value> FunctionTimeNow(Interpreter& in, const Value&, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("strftime_now", args, {"format"}, 1)));
  LEM_ASSIGN_OR_RETURN(const Str* format, TakeString(bound[0], "strftime_now(format)"));
  constexpr size_t kMaxFormatBytes = 1000;
  if (format->text.size() > kMaxFormatBytes) {
    return ResourceExhausted("strftime_now(format) has {} bytes; at most {} are allowed", format->text.size(),
                             kMaxFormatBytes);
  }
  return MakeString(in.heap(), FormatTime(format->text, in.now_unix_s()));
}

Result<Value> LoopCycle(Interpreter&, const Value& self, const Arguments& args) {
  if (args.positional.empty()) return InvalidArgument("loop.cycle() needs at least one item");
  return args.positional[self.as<LoopState>()->index % args.positional.size()];
}

Result<Value> LoopChanged(Interpreter& in, const Value& self, const Arguments& args) {
  auto* loop = self.as<LoopState>();
  const Value now = MakeTuple(in.heap(), args.positional);
  if (!loop->last_changed.is_missing() && Equal(in.heap(), loop->last_changed, now)) return Value::Bool(false);
  loop->last_changed = now;
  return Value::Bool(true);
}

Result<Value> CyclerNext(Interpreter&, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("next", args));
  auto* cycler = self.as<Cycler>();
  const Value out = cycler->items->items[cycler->pos];
  cycler->pos = (cycler->pos + 1) % cycler->items->size;
  return out;
}

Result<Value> CyclerReset(Interpreter&, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("reset", args));
  self.as<Cycler>()->pos = 0;
  return Value::None();
}

}  // namespace

std::span<const BuiltinEntry> Functions() {
  static constexpr BuiltinEntry kTable[] = {
      {"cycler", FunctionCycler},         {"dict", FunctionDict},
      {"joiner", FunctionJoiner},         {"namespace", FunctionNamespace},
      {"raise_exception", FunctionRaise}, {"range", FunctionRange},
      {"strftime_now", FunctionTimeNow},
  };
  return kTable;
}

std::span<const BuiltinEntry> LoopMethods() {
  static constexpr BuiltinEntry kTable[] = {{"changed", LoopChanged}, {"cycle", LoopCycle}};
  return kTable;
}

std::span<const BuiltinEntry> CyclerMethods() {
  static constexpr BuiltinEntry kTable[] = {{"next", CyclerNext}, {"reset", CyclerReset}};
  return kTable;
}

}  // namespace lem::jinja
