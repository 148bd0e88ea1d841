// Filters on whole sequences: length, join, sort, unique, batch, groupby, ...
#include <algorithm>
#include <limits>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"
#include "text/jinja/sequence_ops.h"
#include "text/jinja/string_ops.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

Case CaseOf(const Value& case_sensitive) {
  return TakeBoolOr(case_sensitive, false) ? Case::kSensitive : Case::kIgnored;
}

Result<Value> FilterLength(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("length", args));
  LEM_ASSIGN_OR_RETURN(const size_t length, Length(in.heap(), self));
  return Value::Int(static_cast<int64_t>(length));
}

Result<Value> FilterList(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("list", args));
  LEM_ASSIGN_OR_RETURN(const List* items, Items(in.heap(), self));
  List* out = NewList(in.heap());
  for (const Value& item : items->span()) out->Push(in.heap(), item);
  return Value::Of(Kind::kList, out);
}

Result<Value> FilterFirst(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("first", args));
  if (self.kind() == Kind::kGenerator) {  // takes one item and leaves the rest
    List* source = self.list();
    if (source->next < source->size) return source->items[source->next++];
  } else if (self.is_string() && !self.text().empty()) {
    return in.GetElement(self, Value::Int(0));
  } else {
    LEM_ASSIGN_OR_RETURN(const List* items, Items(in.heap(), self));
    if (items->size > 0) return items->items[0];
  }
  return MakeUndefinedHint(in.heap(), "No first item, sequence was empty.");
}

Result<Value> FilterLast(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("last", args));
  if (self.kind() == Kind::kGenerator) return InvalidArgument("'generator' object is not reversible");
  if (self.is_string() && !self.text().empty()) return in.GetElement(self, Value::Int(-1));
  LEM_ASSIGN_OR_RETURN(const List* items, Items(in.heap(), self));
  if (items->size > 0) return items->items[items->size - 1];
  return MakeUndefinedHint(in.heap(), "No last item, sequence was empty.");
}

Result<Value> FilterJoin(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("join", args, {"d", "attribute"})));
  Heap& heap = in.heap();
  LEM_ASSIGN_OR_RETURN(const List* items, Items(heap, self));
  LEM_ASSIGN_OR_RETURN(const AttributeGetter getter, AttributeGetter::Make(heap, bound[1], Case::kSensitive));
  const Str& separator = ToStr(heap, bound[0]);
  TextBuilder out(heap);
  for (size_t i = 0; i < items->size && !heap.exhausted(); ++i) {
    heap.Spend(1);
    if (i > 0) out.Append(separator);
    LEM_ASSIGN_OR_RETURN(const Value item, getter.Get(in, items->items[i]));
    Print(out, item);
  }
  return out.Finish();
}

Result<Value> FilterReverse(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("reverse", args));
  Heap& heap = in.heap();
  if (self.is_string()) {
    const Str& str = self.as_string();
    TextBuilder out(heap);
    for (size_t end = str.text.size(); end > 0 && !heap.exhausted();) {
      const size_t begin = PreviousChar(str.text, end);
      out.Append(str, begin, end);
      end = begin;
    }
    return out.Finish();
  }
  LEM_ASSIGN_OR_RETURN(const List* items, Items(heap, self));
  List* out = NewList(heap);
  for (size_t i = items->size; i-- > 0;) out->Push(heap, items->items[i]);
  return Value::Of(self.kind() == Kind::kGenerator ? Kind::kList : Kind::kGenerator, out);
}

Result<std::vector<KeyedItem>> WithKeys(Interpreter& in, const Value& self, const AttributeGetter& getter) {
  LEM_ASSIGN_OR_RETURN(const List* items, Items(in.heap(), self));
  std::vector<KeyedItem> out;
  for (const Value& item : items->span()) {
    LEM_ASSIGN_OR_RETURN(const Value key, getter.Get(in, item));
    out.push_back({key, item});
  }
  return out;
}

Result<Value> FilterSort(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("sort", args, {"reverse", "case_sensitive", "attribute"})));
  Heap& heap = in.heap();
  // Several attributes with commas between them make a key of several parts.
  std::vector<AttributeGetter> getters;
  const std::span<const Value> names = bound[2].is_string()
                                           ? SplitOn(heap, bound[2].as_string(), ",", -1, Side::kLeft)->span()
                                           : std::span(&bound[2], 1);
  for (const Value& name : names) {
    LEM_ASSIGN_OR_RETURN(AttributeGetter getter, AttributeGetter::Make(heap, name, CaseOf(bound[1])));
    getters.push_back(std::move(getter));
  }
  LEM_ASSIGN_OR_RETURN(const List* items, Items(heap, self));
  std::vector<KeyedItem> keyed;
  for (const Value& item : items->span()) {
    List* key = NewList(heap);
    for (const AttributeGetter& getter : getters) {
      LEM_ASSIGN_OR_RETURN(const Value part, getter.Get(in, item));
      key->Push(heap, part);
    }
    keyed.push_back({Value::Of(Kind::kList, key), item});
  }
  LEM_TRY(SortByKey(heap, keyed, TakeBoolOr(bound[0], false) ? Direction::kDescending : Direction::kAscending));
  return ListOf(heap, Kind::kList, keyed);
}

Result<Value> FilterUnique(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("unique", args, {"case_sensitive", "attribute"})));
  Heap& heap = in.heap();
  LEM_ASSIGN_OR_RETURN(const AttributeGetter getter, AttributeGetter::Make(heap, bound[1], CaseOf(bound[0])));
  LEM_ASSIGN_OR_RETURN(const std::vector<KeyedItem> keyed, WithKeys(in, self, getter));
  List* out = NewList(heap);
  std::vector<Value> seen;
  for (const KeyedItem& candidate : keyed) {
    if (heap.exhausted()) break;
    if (!IsHashable(candidate.key)) return InvalidArgument("unhashable type: '{}'", TypeName(candidate.key));
    if (std::ranges::any_of(seen, [&](const Value& key) { return Equal(heap, key, candidate.key); })) continue;
    seen.push_back(candidate.key);
    out->Push(heap, candidate.item);
  }
  return Value::Of(Kind::kGenerator, out);
}

template <Order better>
Result<Value> FilterExtreme(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("min/max", args, {"case_sensitive", "attribute"})));
  LEM_ASSIGN_OR_RETURN(const AttributeGetter getter, AttributeGetter::Make(in.heap(), bound[1], CaseOf(bound[0])));
  LEM_ASSIGN_OR_RETURN(const std::vector<KeyedItem> keyed, WithKeys(in, self, getter));
  if (keyed.empty()) return MakeUndefinedHint(in.heap(), "No aggregated item, sequence was empty.");
  const KeyedItem* best = &keyed[0];
  for (const KeyedItem& candidate : std::span(keyed).subspan(1)) {
    LEM_ASSIGN_OR_RETURN(const bool is_better, Compare(in.heap(), better, candidate.key, best->key));
    if (is_better) best = &candidate;
  }
  return best->item;
}

Result<Value> FilterSum(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("sum", args, {"attribute", "start"})));
  LEM_ASSIGN_OR_RETURN(const AttributeGetter getter, AttributeGetter::Make(in.heap(), bound[0], Case::kSensitive));
  LEM_ASSIGN_OR_RETURN(const std::vector<KeyedItem> keyed, WithKeys(in, self, getter));
  Value sum = bound[1].is_missing() ? Value::Int(0) : bound[1];
  if (sum.is_string()) return InvalidArgument("sum() cannot sum strings; use join");
  for (const KeyedItem& keyed_item : keyed) {
    LEM_ASSIGN_OR_RETURN(sum, Binary(in.heap(), BinaryOp::kAdd, sum, keyed_item.key));
    if (in.heap().exhausted()) break;
  }
  return sum;
}

Value Pair(Heap& heap, const DictEntry& entry) {
  const Value pair[] = {entry.key, entry.value};
  return MakeTuple(heap, pair);
}

Result<Value> FilterItems(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("items", args));
  List* out = NewList(in.heap());
  if (!self.is_undefined()) {
    if (self.kind() != Kind::kDict) return InvalidArgument("items: can only get item pairs from a mapping");
    for (const DictEntry& entry : self.dict()->span()) out->Push(in.heap(), Pair(in.heap(), entry));
  }
  return Value::Of(Kind::kGenerator, out);
}

Result<Value> FilterDictSort(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("dictsort", args, {"case_sensitive", "by", "reverse"})));
  if (self.is_undefined()) return InvalidArgument("{}", UndefinedMessage(self));
  if (self.kind() != Kind::kDict) return InvalidArgument("dictsort needs a dict, not {}", TypeName(self));
  bool by_value = false;
  if (!bound[1].is_missing()) {
    LEM_ASSIGN_OR_RETURN(const Str* by, TakeString(bound[1], "dictsort(by)"));
    if (by->text != "key" && by->text != "value") {
      return InvalidArgument("dictsort(by) is '{}'; allowed: key, value", by->text);
    }
    by_value = by->text == "value";
  }
  std::vector<KeyedItem> keyed;
  for (const DictEntry& entry : self.dict()->span()) {
    const Value& key = by_value ? entry.value : entry.key;
    const bool ignore_case = CaseOf(bound[0]) == Case::kIgnored;
    keyed.push_back({ignore_case ? IgnoreCase(in.heap(), key) : key, Pair(in.heap(), entry)});
  }
  LEM_TRY(SortByKey(in.heap(), keyed, TakeBoolOr(bound[2], false) ? Direction::kDescending : Direction::kAscending));
  return ListOf(in.heap(), Kind::kList, keyed);
}

Result<Value> FilterBatch(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("batch", args, {"linecount", "fill_with"}, 1)));
  Heap& heap = in.heap();
  LEM_ASSIGN_OR_RETURN(const int64_t size, TakeInt(bound[0], "batch(linecount)"));
  LEM_ASSIGN_OR_RETURN(const List* items, Items(heap, self));
  List* out = NewList(heap);
  List* row = NewList(heap);
  for (const Value& item : items->span()) {
    if (static_cast<int64_t>(row->size) == size) {
      out->Push(heap, Value::Of(Kind::kList, row));
      row = NewList(heap);
    }
    row->Push(heap, item);
  }
  if (row->size > 0) {
    const bool fills = !bound[1].is_missing() && !bound[1].is_none();
    while (fills && static_cast<int64_t>(row->size) < size && !heap.exhausted()) row->Push(heap, bound[1]);
    out->Push(heap, Value::Of(Kind::kList, row));
  }
  return Value::Of(Kind::kGenerator, out);
}

Result<Value> FilterSlice(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("slice", args, {"slices", "fill_with"}, 1)));
  Heap& heap = in.heap();
  LEM_ASSIGN_OR_RETURN(const int64_t slices, TakeInt(bound[0], "slice(slices)"));
  if (slices == 0) return InvalidArgument("slice(slices) is 0; it must be at least 1");
  LEM_ASSIGN_OR_RETURN(const List* items, Items(heap, self));
  const auto size = static_cast<int64_t>(items->size);
  List* out = NewList(heap);
  size_t pos = 0;
  for (int64_t i = 0; i < slices && !heap.exhausted(); ++i) {
    List* column = NewList(heap);
    const bool has_extra = i < size % slices;
    for (int64_t n = size / slices + (has_extra ? 1 : 0); n > 0; --n) column->Push(heap, items->items[pos++]);
    if (!bound[1].is_missing() && !bound[1].is_none() && !has_extra) column->Push(heap, bound[1]);
    out->Push(heap, Value::Of(Kind::kList, column));
  }
  return Value::Of(Kind::kGenerator, out);
}

Result<Value> FilterGroupBy(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("groupby", args, {"attribute", "default", "case_sensitive"}, 1)));
  Heap& heap = in.heap();
  const Value fallback = bound[1].is_none() ? Value() : bound[1];
  LEM_ASSIGN_OR_RETURN(const AttributeGetter getter, AttributeGetter::Make(heap, bound[0], CaseOf(bound[2]), fallback));
  LEM_ASSIGN_OR_RETURN(const AttributeGetter shown, AttributeGetter::Make(heap, bound[0], Case::kSensitive, fallback));
  LEM_ASSIGN_OR_RETURN(std::vector<KeyedItem> keyed, WithKeys(in, self, getter));
  LEM_TRY(SortByKey(heap, keyed, Direction::kAscending));
  List* out = NewList(heap);
  List* group = nullptr;
  for (size_t i = 0; i < keyed.size() && !heap.exhausted(); ++i) {
    if (i == 0 || !Equal(heap, keyed[i].key, keyed[i - 1].key)) {
      group = NewList(heap);
      LEM_ASSIGN_OR_RETURN(const Value grouper, shown.Get(in, keyed[i].item));
      const Value pair[] = {grouper, Value::Of(Kind::kList, group)};
      const Value tuple = MakeTuple(heap, pair);
      // After a crossed budget the tuple is short; nothing may read it as a group then.
      if (tuple.list()->size == 2) tuple.list()->role = ListRole::kGroup;
      out->Push(heap, tuple);
    }
    group->Push(heap, keyed[i].item);
  }
  return Value::Of(Kind::kList, out);
}

}  // namespace

std::span<const BuiltinEntry> SequenceFilters() {
  static constexpr BuiltinEntry kTable[] = {
      {"batch", FilterBatch},
      {"count", FilterLength},
      {"dictsort", FilterDictSort},
      {"first", FilterFirst},
      {"groupby", FilterGroupBy},
      {"items", FilterItems},
      {"join", FilterJoin},
      {"last", FilterLast},
      {"length", FilterLength},
      {"list", FilterList},
      {"max", FilterExtreme<Order::kGreater>},
      {"min", FilterExtreme<Order::kLess>},
      {"reverse", FilterReverse},
      {"slice", FilterSlice},
      {"sort", FilterSort},
      {"sum", FilterSum},
      {"unique", FilterUnique},
  };
  return kTable;
}

}  // namespace lem::jinja
