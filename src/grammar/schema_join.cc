// Schemas that have to hold together, and whether two exclude each other.
#include <algorithm>
#include <unordered_set>

#include "grammar/schema.h"

namespace lem {
namespace {

using Kind = Schema::Kind;

// Joins within joins: recursion of two schemas in each other has no end.
constexpr int kMaxJoinDepth = 64;
constexpr int kMaxDisjointDepth = 8;
// States looked at to see that two patterns share no text; what is not seen counts as shared.
constexpr size_t kMaxDisjointStates = 2'000;

SchemaPtr Make(Schema schema) { return std::make_shared<const Schema>(std::move(schema)); }

SchemaPtr OrAny(const SchemaPtr& schema) { return schema ? schema : AnySchema(); }

}  // namespace

ExprId SchemaReader::Key(const std::string& name) {
  const std::optional<std::u32string> decoded = DecodeUtf8(name);
  return decoded ? builder_.json_text().EncodeText(*decoded) : kEmpty;
}

ExprId SchemaReader::StringContent(const StringSchema& string) {
  if (string.values) {
    std::vector<ExprId> options;
    std::vector<std::string> plain;  // with one spelling only
    for (const std::string& value : *string.values) {
      const bool ascii =
          std::ranges::all_of(value, [](char c) { return c >= 0x20 && c < 0x7F && c != '"' && c != '\\'; });
      if (ascii) {
        plain.push_back(value);
      } else {
        options.push_back(Key(value));
      }
    }
    options.push_back(exprs_.OneOf(std::move(plain)));
    return exprs_.Alt(std::move(options));
  }
  std::vector<ExprId> parts = string.parts;
  if (parts.empty() || string.min > 0 || string.max != kNoMax) {
    parts.push_back(exprs_.Repeat(builder_.json_text().AnyChar(), string.min, string.max));
  }
  return exprs_.And(std::move(parts));
}

Result<SchemaPtr> SchemaReader::Join(const SchemaPtr& a, const SchemaPtr& b, int depth) {
  LEM_TRY(Step());
  if (depth > kMaxJoinDepth) {
    return InvalidArgument(
        "JSON schema: joining schemas that hold together (allOf, $ref beside other keywords) nests "
        "deeper than {}; write the parts without the recursion",
        kMaxJoinDepth);
  }
  if (a == b || b->kind == Kind::kAny) return a;
  if (a->kind == Kind::kAny) return b;
  if (a->kind == Kind::kNever || b->kind == Kind::kNever) return NeverSchema();
  if (a->kind == Kind::kRef || b->kind == Kind::kRef) {
    if (a->kind == b->kind && a->target == b->target) return a;
    SchemaPtr left = a, right = b;
    if (a->kind == Kind::kRef) {
      LEM_ASSIGN_OR_RETURN(left, Resolve(a->target));
    } else {
      LEM_ASSIGN_OR_RETURN(right, Resolve(b->target));
    }
    return Join(left, right, depth + 1);
  }
  if (a->kind == Kind::kAnyOf || a->kind == Kind::kOneOf) return JoinOptions(a, b, true, depth);
  if (b->kind == Kind::kAnyOf || b->kind == Kind::kOneOf) return JoinOptions(b, a, false, depth);
  if (a->kind != b->kind) return NeverSchema();
  switch (a->kind) {
    case Kind::kBool:
      if (a->value && b->value && *a->value != *b->value) return NeverSchema();
      return a->value ? a : b;
    case Kind::kNumber: {
      Schema joined = *a;
      NumberSchema& number = joined.number;
      if (b->number.min) number.RaiseMin(*b->number.min, b->number.min_exclusive);
      if (b->number.max) number.LowerMax(*b->number.max, b->number.max_exclusive);
      number.integer |= b->number.integer;
      number.multiples.insert(number.multiples.end(), b->number.multiples.begin(), b->number.multiples.end());
      if (number.min && number.max) {
        const int order = Compare(*number.min, *number.max);
        if (order > 0 || (order == 0 && (number.min_exclusive || number.max_exclusive))) return NeverSchema();
        if (order == 0 && number.integer && !number.min->magnitude.fraction.empty()) return NeverSchema();
      }
      return Make(std::move(joined));
    }
    case Kind::kString:
      return JoinStrings(a->string, b->string);
    case Kind::kArray:
      return JoinArrays(a->array, b->array, depth);
    case Kind::kObject:
      return JoinObjects(a->object, b->object, depth);
    default:
      return a;
  }
}

Result<SchemaPtr> SchemaReader::JoinOptions(const SchemaPtr& options, const SchemaPtr& other, bool options_first,
                                            int depth) {
  std::vector<SchemaPtr> joined;
  for (const SchemaPtr& option : options->options) {
    LEM_ASSIGN_OR_RETURN(joined.emplace_back(),
                         options_first ? Join(option, other, depth + 1) : Join(other, option, depth + 1));
  }
  return MakeOptions(options->kind, std::move(joined), options->where);
}

Result<SchemaPtr> SchemaReader::JoinStrings(const StringSchema& a, const StringSchema& b) {
  Schema joined;
  joined.kind = Kind::kString;
  StringSchema& string = joined.string;
  if (a.values || b.values) {
    const StringSchema &listed = a.values ? a : b, &other = a.values ? b : a;
    const ExprId content = StringContent(other);
    string.values.emplace();
    for (const std::string& value : *listed.values) {
      const std::string quoted = JsonQuote(value);
      if (exprs_.Matches(content, std::string_view(quoted).substr(1, quoted.size() - 2))) {
        string.values->push_back(value);
      }
    }
    if (string.values->empty()) return NeverSchema();
    return Make(std::move(joined));
  }
  string.min = std::max(a.min, b.min);
  string.max = std::min(a.max, b.max);
  if (string.min > string.max) return NeverSchema();
  string.parts = a.parts;
  for (const ExprId part : b.parts) {
    if (std::ranges::find(string.parts, part) == string.parts.end()) string.parts.push_back(part);
  }
  return Make(std::move(joined));
}

Result<SchemaPtr> SchemaReader::JoinArrays(const ArraySchema& a, const ArraySchema& b, int depth) {
  Schema joined;
  joined.kind = Kind::kArray;
  ArraySchema& array = joined.array;
  array.min = std::max(a.min, b.min);
  array.max = std::min(a.max, b.max);
  for (size_t i = 0; i < std::max(a.prefix.size(), b.prefix.size()); ++i) {
    const SchemaPtr left = i < a.prefix.size() ? a.prefix[i] : OrAny(a.items);
    const SchemaPtr right = i < b.prefix.size() ? b.prefix[i] : OrAny(b.items);
    LEM_ASSIGN_OR_RETURN(array.prefix.emplace_back(), Join(left, right, depth + 1));
  }
  if (a.items && b.items) {
    LEM_ASSIGN_OR_RETURN(array.items, Join(a.items, b.items, depth + 1));
  } else {
    array.items = a.items ? a.items : b.items;
  }
  if (array.min > array.max) return NeverSchema();
  return Make(std::move(joined));
}

Result<SchemaPtr> SchemaReader::PropertyOf(const ObjectSchema& object, const std::string& name) {
  if (const auto at = object.index.find(name); at != object.index.end()) return object.properties[at->second].second;
  const std::string quoted = JsonQuote(name);
  const std::string_view key = std::string_view(quoted).substr(1, quoted.size() - 2);
  for (const ExprId part : object.key_parts) {
    if (!exprs_.Matches(part, key)) return NeverSchema();
  }
  SchemaPtr schema;
  for (const ObjectSchema::Pattern& pattern : object.patterns) {
    if (!exprs_.Matches(pattern.key, key)) continue;
    if (schema) {
      LEM_ASSIGN_OR_RETURN(schema, Join(schema, pattern.schema, 0));
    } else {
      schema = pattern.schema;
    }
  }
  return schema ? schema : OrAny(object.additional);
}

Result<SchemaPtr> SchemaReader::MakeObject(ObjectSchema object, int depth) {
  for (auto& [name, schema] : object.properties) {
    if (object.patterns.empty() && object.key_parts.empty()) break;
    ObjectSchema others;  // what is said of the name beside its own schema
    others.patterns = object.patterns;
    others.key_parts = object.key_parts;
    LEM_ASSIGN_OR_RETURN(const SchemaPtr other, PropertyOf(others, name));
    LEM_ASSIGN_OR_RETURN(schema, Join(schema, other, depth + 1));
  }
  std::vector<std::string> required;
  std::unordered_set<std::string> seen;
  for (const std::string& name : object.required) {
    if (!seen.insert(name).second) continue;
    LEM_ASSIGN_OR_RETURN(const SchemaPtr schema, PropertyOf(object, name));
    if (schema->kind == Kind::kNever) return NeverSchema();
    required.push_back(name);
  }
  object.required = std::move(required);
  if (object.min > object.max || object.required.size() > object.max) return NeverSchema();
  Schema made;
  made.kind = Kind::kObject;
  made.object = std::move(object);
  return Make(std::move(made));
}

Result<SchemaPtr> SchemaReader::JoinObjects(const ObjectSchema& a, const ObjectSchema& b, int depth) {
  ObjectSchema joined;
  for (const auto& [name, schema] : a.properties) {
    LEM_ASSIGN_OR_RETURN(const SchemaPtr other, PropertyOf(b, name));
    LEM_ASSIGN_OR_RETURN(SchemaPtr property, Join(schema, other, depth + 1));
    joined.Set(name, std::move(property));
  }
  for (const auto& [name, schema] : b.properties) {
    if (joined.index.contains(name)) continue;
    LEM_ASSIGN_OR_RETURN(const SchemaPtr other, PropertyOf(a, name));
    LEM_ASSIGN_OR_RETURN(SchemaPtr property, Join(other, schema, depth + 1));
    joined.Set(name, std::move(property));
  }
  // Where only one side has a pattern, names that match it are additional ones to the other.
  const auto add_patterns = [&](const ObjectSchema& from, const ObjectSchema& other, bool both) -> Status {
    for (const ObjectSchema::Pattern& pattern : from.patterns) {
      const auto same = std::ranges::find(other.patterns, pattern.key, &ObjectSchema::Pattern::key);
      SchemaPtr schema = pattern.schema;
      if (same != other.patterns.end()) {
        if (!both) continue;
        LEM_ASSIGN_OR_RETURN(schema, Join(schema, same->schema, depth + 1));
      } else if (other.additional) {
        if (!other.patterns.empty()) {
          return InvalidArgument(
              "JSON schema: patternProperties /{}/ and others cannot be joined with each other and "
              "with additionalProperties; write them in one schema",
              pattern.source);
        }
        LEM_ASSIGN_OR_RETURN(schema, Join(schema, other.additional, depth + 1));
      }
      joined.patterns.push_back({pattern.source, pattern.key, std::move(schema)});
    }
    return OkStatus();
  };
  LEM_TRY(add_patterns(a, b, true));
  LEM_TRY(add_patterns(b, a, false));
  if (a.additional && b.additional) {
    LEM_ASSIGN_OR_RETURN(joined.additional, Join(a.additional, b.additional, depth + 1));
  } else {
    joined.additional = a.additional ? a.additional : b.additional;
  }
  joined.key_parts = a.key_parts;
  joined.key_parts.insert(joined.key_parts.end(), b.key_parts.begin(), b.key_parts.end());
  joined.required = a.required;
  joined.required.insert(joined.required.end(), b.required.begin(), b.required.end());
  joined.min = std::max(a.min, b.min);
  joined.max = std::min(a.max, b.max);
  std::unordered_set<std::string> seen;
  std::erase_if(joined.required, [&](const std::string& name) { return !seen.insert(name).second; });
  for (const std::string& name : joined.required) {
    LEM_ASSIGN_OR_RETURN(const SchemaPtr schema, PropertyOf(joined, name));
    if (schema->kind == Kind::kNever) return NeverSchema();
  }
  if (joined.min > joined.max || joined.required.size() > joined.max) return NeverSchema();
  Schema made;
  made.kind = Kind::kObject;
  made.object = std::move(joined);
  return Make(std::move(made));
}

Result<SchemaPtr> SchemaReader::MakeOptions(Kind kind, std::vector<SchemaPtr> options, std::string where) {
  std::vector<SchemaPtr> kept;
  for (const SchemaPtr& option : options) {
    if (option->kind == Kind::kNever) continue;
    if (option->kind == Kind::kAny && kind == Kind::kAnyOf) return AnySchema();
    if (option->kind == kind || (option->kind == Kind::kAnyOf && kind == Kind::kOneOf && options.size() == 1)) {
      kept.insert(kept.end(), option->options.begin(), option->options.end());
    } else {
      kept.push_back(option);
    }
  }
  if (kept.empty()) return NeverSchema();
  if (kept.size() == 1) return kept[0];
  Schema schema;
  schema.kind = Kind::kAnyOf;
  if (kind == Kind::kOneOf) {
    for (size_t i = 0; i < kept.size() && schema.kind == Kind::kAnyOf; ++i) {
      for (size_t j = i + 1; j < kept.size() && schema.kind == Kind::kAnyOf; ++j) {
        LEM_ASSIGN_OR_RETURN(const bool disjoint, AreDisjoint(kept[i], kept[j], 0));
        if (!disjoint) schema.kind = Kind::kOneOf;
      }
    }
  }
  schema.options = std::move(kept);
  schema.where = std::move(where);
  return Make(std::move(schema));
}

bool SchemaReader::AreDisjointStrings(const StringSchema& a, const StringSchema& b) {
  if (a.values && b.values) {
    return std::ranges::none_of(
        *a.values, [&](const std::string& value) { return std::ranges::find(*b.values, value) != b.values->end(); });
  }
  const ExprId both = exprs_.And(StringContent(a), StringContent(b));
  return exprs_.TryAlive(both, exprs_.Classes({&both, 1}), kMaxDisjointStates) == false;
}

Result<bool> SchemaReader::AreDisjointObjects(const ObjectSchema& a, const ObjectSchema& b, int depth) {
  if (a.min > b.max || b.min > a.max) return true;
  for (const auto* required : {&a.required, &b.required}) {
    for (const std::string& name : *required) {
      LEM_ASSIGN_OR_RETURN(const SchemaPtr left, PropertyOf(a, name));
      LEM_ASSIGN_OR_RETURN(const SchemaPtr right, PropertyOf(b, name));
      LEM_ASSIGN_OR_RETURN(const bool disjoint, AreDisjoint(left, right, depth + 1));
      if (disjoint) return true;
    }
  }
  return false;
}

Result<bool> SchemaReader::AreDisjoint(const SchemaPtr& a, const SchemaPtr& b, int depth) {
  LEM_TRY(Step());
  if (a->kind == Kind::kNever || b->kind == Kind::kNever) return true;
  if (a->kind == Kind::kAny || b->kind == Kind::kAny || depth > kMaxDisjointDepth) return false;
  for (const auto& [first, second] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    const Schema& schema = **first;
    if (schema.kind == Kind::kRef) {
      if (referred_[schema.target].open) return false;
      LEM_ASSIGN_OR_RETURN(const SchemaPtr resolved, Resolve(schema.target));
      return AreDisjoint(resolved, *second, depth + 1);
    }
    if (schema.kind == Kind::kAnyOf || schema.kind == Kind::kOneOf) {
      for (const SchemaPtr& option : schema.options) {
        LEM_ASSIGN_OR_RETURN(const bool disjoint, AreDisjoint(option, *second, depth + 1));
        if (!disjoint) return false;
      }
      return true;
    }
  }
  if (a->kind != b->kind) return true;
  switch (a->kind) {
    case Kind::kBool:
      return a->value && b->value && *a->value != *b->value;
    case Kind::kNumber: {
      LEM_ASSIGN_OR_RETURN(const SchemaPtr both, Join(a, b, 0));
      return both->kind == Kind::kNever;
    }
    case Kind::kString:
      return AreDisjointStrings(a->string, b->string);
    case Kind::kArray: {
      const ArraySchema &left = a->array, &right = b->array;
      if (left.min > right.max || right.min > left.max) return true;
      for (size_t i = 0; i < std::max(left.min, right.min) && i < 16; ++i) {
        const SchemaPtr one = i < left.prefix.size() ? left.prefix[i] : OrAny(left.items);
        const SchemaPtr other = i < right.prefix.size() ? right.prefix[i] : OrAny(right.items);
        LEM_ASSIGN_OR_RETURN(const bool disjoint, AreDisjoint(one, other, depth + 1));
        if (disjoint) return true;
      }
      return false;
    }
    case Kind::kObject:
      return AreDisjointObjects(a->object, b->object, depth);
    default:
      return false;
  }
}

// What no keyword of the schema or of those joined to it has looked at has to match `rest`. In a union every option by
// itself: a value that matches two of them is held to less by the standard, so this is on the safe side.
Result<SchemaPtr> SchemaReader::CloseUnevaluated(const SchemaPtr& schema, const SchemaPtr& rest, bool objects,
                                                 int depth) {
  LEM_TRY(Step());
  if (depth > kMaxJoinDepth) return InvalidArgument("JSON schema: unevaluated keywords over a recursive $ref");
  Schema closed = *schema;
  switch (schema->kind) {
    case Kind::kRef: {
      LEM_ASSIGN_OR_RETURN(const SchemaPtr resolved, Resolve(schema->target));
      return CloseUnevaluated(resolved, rest, objects, depth + 1);
    }
    case Kind::kAny:
      closed.kind = Kind::kAnyOf;
      for (const Kind kind : {Kind::kNull, Kind::kBool, Kind::kNumber, Kind::kString, Kind::kArray, Kind::kObject}) {
        Schema one;
        one.kind = kind;
        closed.options.push_back(Make(std::move(one)));
      }
      [[fallthrough]];
    case Kind::kAnyOf:
    case Kind::kOneOf:
      for (SchemaPtr& option : closed.options) {
        LEM_ASSIGN_OR_RETURN(option, CloseUnevaluated(option, rest, objects, depth + 1));
      }
      return Make(std::move(closed));
    case Kind::kObject:
      if (objects && !closed.object.additional) closed.object.additional = rest;
      return Make(std::move(closed));
    case Kind::kArray:
      if (!objects && !closed.array.items) closed.array.items = rest;
      return Make(std::move(closed));
    default:
      return schema;
  }
}

}  // namespace lem
