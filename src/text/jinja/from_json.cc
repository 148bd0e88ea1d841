#include "text/jinja/from_json.h"

#include "text/jinja/text.h"

namespace lem::jinja {
namespace {

std::string_view View(boost::json::string_view text) { return {text.data(), text.size()}; }

Value Convert(Heap& heap, const JsonValue& json, int depth) {
  heap.Spend(1);
  if (depth > kMaxValueDepth) heap.Exhaust(fmt::format("gets JSON nested deeper than {} levels", kMaxValueDepth));
  if (heap.exhausted()) return Value::None();
  switch (json.kind()) {
    case boost::json::kind::null:
      return Value::None().WithTaint(true);
    case boost::json::kind::bool_:
      return Value::Bool(json.get_bool()).WithTaint(true);
    case boost::json::kind::int64:
      return Value::Int(json.get_int64()).WithTaint(true);
    case boost::json::kind::uint64:
      // Boost chooses uint64 only above INT64_MAX, but a caller may have built the value by hand.
      if (json.get_uint64() <= INT64_MAX) return Value::Int(static_cast<int64_t>(json.get_uint64())).WithTaint(true);
      return Value::BigInt(json.get_uint64()).WithTaint(true);
    case boost::json::kind::double_:
      return Value::Float(json.get_double()).WithTaint(true);
    case boost::json::kind::string:
      return Value::String(TaintedStr(heap, View(json.get_string())));
    case boost::json::kind::array: {
      List* out = NewList(heap);
      for (const JsonValue& item : json.get_array()) out->Push(heap, Convert(heap, item, depth + 1));
      return Value::Of(Kind::kList, out);
    }
    case boost::json::kind::object: {
      auto* out = heap.New<Dict>();
      for (const auto& member : json.get_object()) {
        out->Push(heap, Value::String(TaintedStr(heap, View(member.key()))), Convert(heap, member.value(), depth + 1));
      }
      return Value::Of(Kind::kDict, out);
    }
  }
  return Value::None();
}

}  // namespace

Value FromJson(Heap& heap, const JsonValue& json) { return Convert(heap, json, 0); }

}  // namespace lem::jinja
