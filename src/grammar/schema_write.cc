// Schemas as expressions.
//
// Listed properties come in their order, each once; others follow in any order. As JSON readers keep the last of equal
// names, and equal names have equal schemas here, repeats among the others do no harm but to minProperties.
#include <algorithm>

#include "grammar/languages.h"
#include "grammar/schema.h"

namespace lem {
namespace {

using Kind = Schema::Kind;

// Listed properties times the counts that minProperties and maxProperties ask for.
constexpr uint64_t kMaxCountedProperties = 20'000;
// Patterns of names that may overlap: all their subsets are told apart.
constexpr size_t kMaxOverlapping = 5;
// Alternatives that hang in each other; longer chains go through rules.
constexpr size_t kChain = 128;

class SchemaWriter {
 public:
  SchemaWriter(GrammarBuilder& builder, SchemaReader& reader, JsonWhitespace whitespace)
      : builder_(builder),
        exprs_(builder.exprs()),
        reader_(reader),
        whitespace_(whitespace),
        space_(builder.JsonSpace(whitespace)),
        separator_(exprs_.Concat({space_, exprs_.Byte(','), space_})),
        colon_(exprs_.Concat(space_, exprs_.Byte(':'))) {}

  // `schema` and all that its $refs lead to, one after the other: chains of them do not recurse.
  Result<ExprId> WriteAll(const SchemaPtr& schema) {
    LEM_ASSIGN_OR_RETURN(const ExprId start, Write(schema));
    while (!pending_.empty()) {
      const auto [target, rule] = pending_.back();
      pending_.pop_back();
      LEM_ASSIGN_OR_RETURN(const SchemaPtr referred, reader_.Resolve(target));
      LEM_ASSIGN_OR_RETURN(const ExprId body, Write(referred));
      builder_.SetRule(rule, body);
    }
    return start;
  }

 private:
  Result<ExprId> Write(const SchemaPtr& schema) {
    if (const auto known = written_.find(schema.get()); known != written_.end()) return known->second;
    LEM_ASSIGN_OR_RETURN(const ExprId expr, WriteNew(*schema));
    written_.emplace(schema.get(), expr);
    kept_.push_back(schema);  // so that its address stays its own
    return expr;
  }

  Result<ExprId> WriteNew(const Schema& schema) {
    LEM_TRY(builder_.CheckLimits());
    switch (schema.kind) {
      case Kind::kAny:
        return builder_.JsonAny(whitespace_);
      case Kind::kNever:
        return kEmpty;
      case Kind::kNull:
        return exprs_.Literal("null");
      case Kind::kBool:
        if (schema.value) return exprs_.Literal(*schema.value ? "true" : "false");
        return exprs_.Alt(exprs_.Literal("true"), exprs_.Literal("false"));
      case Kind::kNumber:
        return WriteNumber(builder_, schema.number);
      case Kind::kString:
        return WriteString(schema.string);
      case Kind::kArray:
        return WriteArray(schema.array);
      case Kind::kObject:
        return WriteObject(schema.object);
      case Kind::kAnyOf: {
        std::vector<ExprId> options;
        for (const SchemaPtr& option : schema.options) {
          LEM_ASSIGN_OR_RETURN(options.emplace_back(), Write(option));
        }
        return exprs_.Alt(std::move(options));
      }
      case Kind::kOneOf:
        return InvalidArgument(
            "JSON schema at {}: oneOf is supported where its parts exclude each other (other types, or a property that "
            "is required and differs); write anyOf if it does not matter that only one matches",
            schema.where);
      case Kind::kRef:
        return WriteRef(schema.target);
    }
    return Internal("a schema of kind {}", static_cast<int>(schema.kind));
  }

  ExprId WriteRef(const JsonValue* target) {
    if (const auto known = rules_.find(target); known != rules_.end()) return exprs_.CallRule(known->second);
    const RuleId rule = builder_.AddRule("a schema that a $ref leads to");
    rules_.emplace(target, rule);
    pending_.emplace_back(target, rule);
    return exprs_.CallRule(rule);
  }

  Result<ExprId> WriteString(const StringSchema& string) {
    const ExprId content = reader_.StringContent(string);
    LEM_TRY(builder_.CheckLimits());
    if (!exprs_.Alive(content)) {
      LEM_TRY(builder_.CheckLimits());
      return kEmpty;
    }
    const ExprId quote = exprs_.Byte('"');
    return builder_.AsRule(exprs_.Concat({quote, content, quote}));
  }

  // `list` in brackets, or nothing between them where that is allowed.
  ExprId Bracketed(char open, ExprId list, char close, bool may_be_empty) {
    const ExprId begin = exprs_.Concat(exprs_.Byte(static_cast<uint8_t>(open)), space_);
    const ExprId end = exprs_.Byte(static_cast<uint8_t>(close));
    const ExprId filled = list == kEmpty ? kEmpty : exprs_.Concat({list, space_, end});
    return exprs_.Concat(begin, exprs_.Alt(filled, may_be_empty ? end : kEmpty));
  }

  Result<ExprId> WriteArray(const ArraySchema& array) {
    std::vector<ExprId> prefix;
    uint32_t max = array.max;
    for (size_t i = 0; i < array.prefix.size() && i < array.max; ++i) {
      LEM_ASSIGN_OR_RETURN(const ExprId item, Write(array.prefix[i]));
      if (item == kEmpty) {
        max = static_cast<uint32_t>(i);
        break;
      }
      prefix.push_back(item);
    }
    ExprId rest = kEmpty;
    if (max > prefix.size()) {
      LEM_ASSIGN_OR_RETURN(rest, array.items ? Write(array.items) : Result<ExprId>(builder_.JsonAny(whitespace_)));
      if (rest == kEmpty) max = static_cast<uint32_t>(prefix.size());
    }
    if (array.min > max) return kEmpty;
    const auto num_prefix = static_cast<uint32_t>(prefix.size());
    const auto left = [](uint32_t count, uint32_t taken) {
      return count == kNoMax ? kNoMax : count - std::min(count, taken);
    };
    // From the end: what follows after i items, i > 0.
    ExprId tail = exprs_.Repeat(exprs_.Concat(separator_, rest), left(array.min, num_prefix), left(max, num_prefix));
    ExprId list = kEmpty;
    if (num_prefix == 0) {
      if (max == 0) return builder_.AsRule(Bracketed('[', kEmpty, ']', true));
      tail = exprs_.Repeat(exprs_.Concat(separator_, rest), left(array.min, 1), left(max, 1));
      list = exprs_.Concat(rest, tail);
    } else {
      for (uint32_t i = num_prefix; i-- > 1;) {
        tail = exprs_.Concat({separator_, prefix[i], tail});
        if (i >= array.min) tail = exprs_.Alt(tail, kEpsilon);
      }
      list = exprs_.Concat(prefix[0], tail);
    }
    return builder_.AsRule(Bracketed('[', list, ']', array.min == 0));
  }

  // Names and values of what is not listed, one of them.
  Result<ExprId> WriteOthers(const ObjectSchema& object) {
    std::vector<ExprId> names;
    std::vector<std::string> plain;
    for (const auto& [name, schema] : object.properties) {
      const bool ascii =
          std::ranges::all_of(name, [](char c) { return c >= 0x20 && c < 0x7F && c != '"' && c != '\\'; });
      if (ascii) {
        plain.push_back(name);
      } else {
        names.push_back(reader_.Key(name));
      }
    }
    names.push_back(exprs_.OneOf(std::move(plain)));
    std::vector<ExprId> always = object.key_parts;
    always.push_back(builder_.json_text().AnyText());
    if (const ExprId listed = exprs_.Alt(std::move(names)); listed != kEmpty) always.push_back(exprs_.Not(listed));
    std::vector<ExprId> options;
    const auto add = [&](std::vector<ExprId> parts, const SchemaPtr& schema) -> Status {
      parts.insert(parts.end(), always.begin(), always.end());
      const ExprId key = exprs_.And(std::move(parts));
      if (!exprs_.Alive(key)) return builder_.CheckLimits();
      LEM_ASSIGN_OR_RETURN(const ExprId value, Write(schema));
      const ExprId quote = exprs_.Byte('"');
      options.push_back(
          exprs_.Concat({builder_.AsRule(exprs_.Concat({quote, key, quote})), colon_, AfterColon(value)}));
      return builder_.CheckLimits();
    };
    const size_t count = object.patterns.size();
    const bool subsets = count <= kMaxOverlapping;
    for (uint32_t chosen = 1; chosen < (subsets ? uint32_t{1} << count : count + 1); ++chosen) {
      std::vector<ExprId> parts;
      SchemaPtr schema;
      for (size_t i = 0; i < count; ++i) {
        const bool in = subsets ? (chosen >> i & 1) != 0 : chosen == i + 1;
        if (!in && !subsets) continue;
        parts.push_back(in ? object.patterns[i].key : exprs_.Not(object.patterns[i].key));
        if (!in) continue;
        if (schema) {
          LEM_ASSIGN_OR_RETURN(schema, reader_.Join(schema, object.patterns[i].schema));
        } else {
          schema = object.patterns[i].schema;
        }
      }
      LEM_TRY(add(std::move(parts), schema));
    }
    if (!subsets) LEM_TRY(CheckApart(object));
    if (!object.additional || object.additional->kind != Kind::kNever) {
      std::vector<ExprId> parts;
      for (const ObjectSchema::Pattern& pattern : object.patterns) parts.push_back(exprs_.Not(pattern.key));
      LEM_TRY(add(std::move(parts), object.additional ? object.additional : AnySchema()));
    }
    return exprs_.Alt(std::move(options));
  }

  Status CheckApart(const ObjectSchema& object) {
    for (size_t i = 0; i < object.patterns.size(); ++i) {
      for (size_t j = i + 1; j < object.patterns.size(); ++j) {
        if (!exprs_.Alive(exprs_.And(object.patterns[i].key, object.patterns[j].key))) continue;
        LEM_TRY(builder_.CheckLimits());
        return InvalidArgument(
            "JSON schema: of more than {} patternProperties, /{}/ and /{}/ may match the same name; "
            "write patterns that exclude each other",
            kMaxOverlapping, object.patterns[i].source, object.patterns[j].source);
      }
    }
    return builder_.CheckLimits();
  }

  // A rule, so that properties of equal schemas share masks.
  ExprId AfterColon(ExprId value) { return value == kEmpty ? kEmpty : builder_.AsRule(exprs_.Concat(space_, value)); }

  struct Listed {
    ExprId member;  // name, colon and value
    bool required;
  };

  Result<ExprId> WriteObject(const ObjectSchema& given) {
    std::vector<Listed> listed;
    std::unordered_map<std::string, bool> required;
    // Names that are only required come after those that are listed.
    ObjectSchema object = given;
    for (const std::string& name : given.required) {
      required.emplace(name, true);
      if (object.index.contains(name)) continue;
      LEM_ASSIGN_OR_RETURN(SchemaPtr schema, reader_.PropertyOf(given, name));
      object.Set(name, std::move(schema));
    }
    for (const auto& [name, schema] : object.properties) {
      LEM_ASSIGN_OR_RETURN(const ExprId value, Write(schema));
      const bool needed = required.contains(name);
      if (value == kEmpty && !needed) continue;
      const ExprId quote = exprs_.Byte('"');
      listed.push_back({exprs_.Concat({quote, reader_.Key(name), quote, colon_, AfterColon(value)}), needed});
    }
    LEM_ASSIGN_OR_RETURN(const ExprId others, WriteOthers(object));
    uint32_t min = object.min, max = object.max;
    if (min <= required.size()) min = 0;
    if (others == kEmpty && max >= listed.size()) max = kNoMax;
    LEM_ASSIGN_OR_RETURN(const ExprId list, WriteMembers(listed, others, min, max));
    return builder_.AsRule(Bracketed('{', list, '}', min == 0 && required.empty()));
  }

  // At least one member; with `min` members or more, `max` or fewer.
  Result<ExprId> WriteMembers(const std::vector<Listed>& listed, ExprId others, uint32_t min, uint32_t max) {
    // Members so far are counted up to `cap`: there, all numbers are the same.
    const uint32_t cap = max != kNoMax ? max : std::max<uint32_t>(min, 1);
    if (uint64_t{cap} * (listed.size() + 1) > kMaxCountedProperties &&
        !(listed.empty() || (min <= 1 && max == kNoMax))) {
      return InvalidArgument(
          "JSON schema: minProperties {} and maxProperties {} with {} listed properties are not supported; "
          "leave them out",
          min, max, listed.size());
    }
    const ExprId more_others = exprs_.Concat(separator_, others);
    // After `count` members, nothing listed is left; the first of all has no separator.
    const auto last = [&](uint32_t count) {
      const uint32_t least = min > count ? min - count : 0;
      const uint32_t most = max == kNoMax ? kNoMax : max - count;
      if (count > 0) return exprs_.Repeat(more_others, least, most);
      if (others == kEmpty || most == 0) return kEmpty;
      return exprs_.Concat(others,
                           exprs_.Repeat(more_others, least > 0 ? least - 1 : 0, most == kNoMax ? kNoMax : most - 1));
    };
    if (listed.empty()) return last(0);
    const uint32_t width = cap + 1;
    std::vector<ExprId> next(width), now(width);
    for (uint32_t count = 0; count < width; ++count) next[count] = last(count);
    for (size_t i = listed.size(); i-- > 0;) {
      for (uint32_t count = 0; count < width; ++count) {
        ExprId taken = kEmpty;
        if (max == kNoMax || count < max) {
          const uint32_t after = std::min(count + 1, cap);
          taken = exprs_.Concat({count > 0 ? separator_ : kEpsilon, listed[i].member, next[after]});
        }
        now[count] = listed[i].required ? taken : exprs_.Alt(taken, next[count]);
        if (i % kChain == kChain - 1 && now[count] != kEmpty) now[count] = builder_.AsRule(now[count]);
      }
      std::swap(next, now);
      if (i % 16 == 0) LEM_TRY(builder_.CheckLimits());
    }
    return next[0];
  }

  GrammarBuilder& builder_;
  ExprSet& exprs_;
  SchemaReader& reader_;
  JsonWhitespace whitespace_;
  ExprId space_, separator_, colon_;
  std::unordered_map<const Schema*, ExprId> written_;
  std::vector<SchemaPtr> kept_;
  std::unordered_map<const JsonValue*, RuleId> rules_;
  std::vector<std::pair<const JsonValue*, RuleId>> pending_;  // rules without a body yet
};

}  // namespace

Result<ExprId> CompileJsonSchema(GrammarBuilder& builder, std::string_view schema, JsonWhitespace whitespace) {
  const JsonLimits limits{builder.limits().max_source_bytes, builder.limits().max_depth};
  Result<JsonValue> root = ParseJson(schema, limits);
  if (!root.ok()) return InvalidArgument("the JSON schema is not JSON: {}", root.status().message());
  SchemaReader reader(builder, *root);
  LEM_ASSIGN_OR_RETURN(const SchemaPtr read, reader.ReadRoot());
  LEM_ASSIGN_OR_RETURN(const ExprId expr, SchemaWriter(builder, reader, whitespace).WriteAll(read));
  LEM_TRY(builder.CheckLimits());
  if (expr == kEmpty)
    return InvalidArgument("the JSON schema allows no value at all: its keywords contradict each other");
  return expr;
}

}  // namespace lem
