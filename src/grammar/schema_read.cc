// JSON Schema keywords to Schema nodes.
#include <algorithm>
#include <array>
#include <tuple>

#include "base/json.h"
#include "grammar/languages.h"
#include "grammar/schema.h"

namespace lem {
namespace {

using Kind = Schema::Kind;

// A multiple with more digits makes machines of as many states.
constexpr uint64_t kMaxMultiple = 1'000'000;
constexpr size_t kMaxReads = 50'000;

constexpr std::string_view kTypes[] = {"null", "boolean", "number", "string", "array", "object"};

// Keywords that hold for values of one type.
constexpr std::string_view kTypedKeywords[] = {"type",
                                               "minimum",
                                               "maximum",
                                               "exclusiveMinimum",
                                               "exclusiveMaximum",
                                               "multipleOf",
                                               "minLength",
                                               "maxLength",
                                               "pattern",
                                               "format",
                                               "items",
                                               "prefixItems",
                                               "minItems",
                                               "maxItems",
                                               "additionalItems",
                                               "properties",
                                               "patternProperties",
                                               "additionalProperties",
                                               "required",
                                               "minProperties",
                                               "maxProperties",
                                               "propertyNames",
                                               "uniqueItems"};
// Keywords that apply other schemas to the same value, in the place where they stand.
constexpr std::string_view kApplicators[] = {"const", "enum", "allOf", "anyOf", "oneOf", "$ref", "$recursiveRef"};
// Keywords that restrict values and are not supported. All others of the standard are notes, and so are unknown ones.
constexpr std::string_view kUnsupported[] = {
    "not",         "if",      "contains", "dependencies", "dependentRequired", "dependentSchemas",
    "$dynamicRef", "extends", "disallow", "divisibleBy"};

bool IsOneOf(std::string_view name, std::span<const std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

SchemaPtr Make(Schema schema) { return std::make_shared<const Schema>(std::move(schema)); }

SchemaPtr MakeKind(Kind kind) {
  Schema schema;
  schema.kind = kind;
  return Make(std::move(schema));
}

std::string Escaped(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

template <typename... Args>
Status ErrorAt(const auto& place, fmt::format_string<Args...> format, Args&&... args) {
  std::string path = place.path.empty() ? "/" : place.path;
  if (path.size() > 200) path = path.substr(0, 200) + "...";
  return InvalidArgument("JSON schema at {}: {}", path, fmt::format(format, std::forward<Args>(args)...));
}

bool IsTrivial(const JsonValue& value) {
  return (value.is_object() && value.get_object().empty()) || (value.is_bool() && value.get_bool());
}

}  // namespace

SchemaPtr AnySchema() {
  static const SchemaPtr any = MakeKind(Kind::kAny);
  return any;
}

SchemaPtr NeverSchema() {
  static const SchemaPtr never = MakeKind(Kind::kNever);
  return never;
}

// The keywords of one schema that are read together.
struct SchemaReader::Keywords {
  std::vector<std::pair<std::string_view, const JsonValue*>> list;
  const JsonObject* schema = nullptr;  // all of them

  const JsonValue* Find(std::string_view name) const {
    for (const auto& [key, value] : list) {
      if (key == name) return value;
    }
    return nullptr;
  }
};

SchemaReader::SchemaReader(GrammarBuilder& builder, const JsonValue& root)
    : builder_(builder), exprs_(builder.exprs()), root_(root), references_(root) {
  places_[&root] = {};
}

Status SchemaReader::Step() {
  if (++steps_ > kMaxReads) {
    return InvalidArgument("the JSON schema is too large: joining its parts takes more than {} steps; simplify it",
                           kMaxReads);
  }
  return steps_ % 64 == 0 ? builder_.CheckLimits() : OkStatus();
}

Result<SchemaPtr> SchemaReader::ReadRoot() { return Resolve(&root_); }

Result<SchemaPtr> SchemaReader::Resolve(const JsonValue* target) {
  Referred& entry = referred_[target];
  if (entry.schema) return entry.schema;
  const Place place = places_[target];
  if (entry.open) {
    return ErrorAt(place,
                   "a $ref leads back to the schema it stands in, beside keywords it has to be joined with; write "
                   "the parts without the recursion");
  }
  // Each takes some kilobytes of stack, with AddressSanitizer ten times as much.
  constexpr size_t kMaxOpen = 32;
  if (open_ >= kMaxOpen) return ErrorAt(place, "$refs that have to be joined lead on more than {} times", kMaxOpen);
  entry.open = true;
  ++open_;
  Result<SchemaPtr> schema = Read(*target, place);
  --open_;
  Referred& made = referred_[target];  // the map has grown
  made.open = false;
  if (schema.ok()) made.schema = *schema;
  return schema;
}

Result<SchemaPtr> SchemaReader::Read(const JsonValue& value, const Place& place) {
  LEM_TRY(Step());
  if (value.is_bool()) return value.get_bool() ? AnySchema() : NeverSchema();
  if (!value.is_object()) return ErrorAt(place, "a schema has to be an object, true or false");
  // Counted over what $refs lead to on the way, so that chains of them end too.
  if (depth_ > builder_.limits().max_depth) {
    return ErrorAt(place, "schemas, with the $refs that have to be joined, are nested deeper than {}",
                   builder_.limits().max_depth);
  }
  Place own = place;
  own.base = SchemaReferences::BaseOf(value, place.base);
  ++depth_;
  Result<SchemaPtr> read = ReadObject(value.get_object(), own);
  --depth_;
  return read;
}

Status SchemaReader::CheckKeyword(std::string_view name, const JsonValue& value, const JsonObject& schema,
                                  const Place& place) {
  if (!IsOneOf(name, kUnsupported)) return OkStatus();
  const bool empty =
      (value.is_object() && value.get_object().empty()) || (value.is_array() && value.get_array().empty());
  if (name.starts_with("depend") && empty) return OkStatus();
  if (name == "if" && !schema.contains("then") && !schema.contains("else")) return OkStatus();
  if (name == "contains" && schema.contains("minContains") && schema.at("minContains").is_int64() &&
      schema.at("minContains").get_int64() == 0 && !schema.contains("maxContains")) {
    return OkStatus();
  }
  return ErrorAt(place, "the keyword '{}' is not supported; leave it out or write the schema without it", name);
}

Result<SchemaPtr> SchemaReader::ReadObject(const JsonObject& schema, const Place& place) {
  SchemaPtr result = AnySchema();
  Keywords current;
  current.schema = &schema;
  const auto flush = [&]() -> Status {
    if (current.list.empty()) return OkStatus();
    // The type always, so that the union is the smallest; what others need to know, without applying it twice.
    if (const JsonValue* type = schema.if_contains("type"); type != nullptr && current.Find("type") == nullptr) {
      current.list.emplace_back("type", type);
    }
    LEM_ASSIGN_OR_RETURN(const SchemaPtr typed, ReadTyped(current, place));
    LEM_ASSIGN_OR_RETURN(result, Join(result, typed, 0));
    current.list.clear();
    return OkStatus();
  };
  for (const auto& member : schema) {
    const std::string_view name = member.key();
    const JsonValue& value = member.value();
    LEM_TRY(CheckKeyword(name, value, schema, place));
    if (IsOneOf(name, kTypedKeywords)) {
      current.list.emplace_back(name, &value);
      continue;
    }
    if (!IsOneOf(name, kApplicators)) continue;
    LEM_TRY(flush());
    Place inner = place;
    inner.path += fmt::format("/{}", name);
    SchemaPtr applied;
    if (name == "const") {
      LEM_ASSIGN_OR_RETURN(applied, ReadConst(value, inner));
    } else if (name == "enum") {
      LEM_ASSIGN_OR_RETURN(applied, ReadEnum(value, inner));
    } else if (name == "allOf") {
      if (!value.is_array()) return ErrorAt(inner, "allOf has to be an array");
      applied = result;
      for (size_t i = 0; i < value.get_array().size(); ++i) {
        Place part = inner;
        part.path += fmt::format("/{}", i);
        LEM_ASSIGN_OR_RETURN(const SchemaPtr read, Read(value.get_array()[i], part));
        LEM_ASSIGN_OR_RETURN(applied, Join(applied, read, 0));
      }
      result = applied;
      continue;
    } else if (name == "$ref" || name == "$recursiveRef") {
      LEM_ASSIGN_OR_RETURN(applied, ReadRef(value, inner));
    } else {
      LEM_ASSIGN_OR_RETURN(applied, ReadOptions(name == "anyOf" ? Kind::kAnyOf : Kind::kOneOf, value, inner));
    }
    LEM_ASSIGN_OR_RETURN(result, Join(result, applied, 0));
  }
  LEM_TRY(flush());
  for (const bool objects : {true, false}) {
    const std::string_view name = objects ? "unevaluatedProperties" : "unevaluatedItems";
    const JsonValue* rest = schema.if_contains(name);
    if (rest == nullptr) continue;
    Place inner = place;
    inner.path += fmt::format("/{}", name);
    LEM_ASSIGN_OR_RETURN(const SchemaPtr read, Read(*rest, inner));
    if (read->kind != Kind::kAny) {
      LEM_ASSIGN_OR_RETURN(result, CloseUnevaluated(result, read, objects, 0));
    }
  }
  return result;
}

Result<SchemaPtr> SchemaReader::ReadOptions(Kind kind, const JsonValue& value, const Place& place) {
  if (!value.is_array()) return ErrorAt(place, "has to be an array");
  std::vector<SchemaPtr> options;
  for (size_t i = 0; i < value.get_array().size(); ++i) {
    Place part = place;
    part.path += fmt::format("/{}", i);
    LEM_ASSIGN_OR_RETURN(options.emplace_back(), Read(value.get_array()[i], part));
  }
  return MakeOptions(kind, std::move(options), place.path);
}

Result<SchemaPtr> SchemaReader::ReadRef(const JsonValue& value, const Place& place) {
  if (!value.is_string()) return ErrorAt(place, "$ref has to be a string");
  const std::string_view ref = value.get_string();
  Result<const JsonValue*> target = references_.Resolve(ref, place.base);
  if (!target.ok()) return ErrorAt(place, "{}", target.status().message());
  if (!places_.contains(*target)) {
    Place at;
    at.path = std::string(ref.substr(0, 200));
    at.base = place.base;
    if (const auto known = references_.bases_.find(*target); known != references_.bases_.end()) at.base = known->second;
    places_[*target] = at;
  }
  Schema schema;
  schema.kind = Kind::kRef;
  schema.target = *target;
  return Make(std::move(schema));
}

Result<SchemaPtr> SchemaReader::ReadConst(const JsonValue& value, const Place& place) {
  LEM_TRY(Step());
  Schema schema;
  switch (value.kind()) {
    case boost::json::kind::null:
      schema.kind = Kind::kNull;
      break;
    case boost::json::kind::bool_:
      schema.kind = Kind::kBool;
      schema.value = value.get_bool();
      break;
    case boost::json::kind::string:
      schema.kind = Kind::kString;
      schema.string.values.emplace().emplace_back(value.get_string());
      break;
    case boost::json::kind::array:
      schema.kind = Kind::kArray;
      for (const JsonValue& item : value.get_array()) {
        LEM_ASSIGN_OR_RETURN(schema.array.prefix.emplace_back(), ReadConst(item, place));
      }
      schema.array.min = schema.array.max = static_cast<uint32_t>(schema.array.prefix.size());
      schema.array.items = NeverSchema();
      break;
    case boost::json::kind::object:
      schema.kind = Kind::kObject;
      for (const auto& member : value.get_object()) {
        LEM_ASSIGN_OR_RETURN(const SchemaPtr property, ReadConst(member.value(), place));
        schema.object.Set(std::string(member.key()), property);
        schema.object.required.emplace_back(member.key());
      }
      schema.object.additional = NeverSchema();
      break;
    default: {
      const std::optional<Number> number = NumberOf(value);
      if (!number) return ErrorAt(place, "a number has too many digits");
      schema.kind = Kind::kNumber;
      schema.number.min = schema.number.max = number;
      break;
    }
  }
  return Make(std::move(schema));
}

Result<SchemaPtr> SchemaReader::ReadEnum(const JsonValue& value, const Place& place) {
  if (!value.is_array()) return ErrorAt(place, "enum has to be an array");
  std::vector<SchemaPtr> options;
  Schema strings;
  strings.kind = Kind::kString;
  strings.string.values.emplace();
  for (const JsonValue& item : value.get_array()) {
    if (item.is_string()) {
      strings.string.values->emplace_back(item.get_string());
    } else {
      LEM_ASSIGN_OR_RETURN(options.emplace_back(), ReadConst(item, place));
    }
  }
  if (!strings.string.values->empty()) options.push_back(Make(std::move(strings)));
  return MakeOptions(Kind::kAnyOf, std::move(options), place.path);
}

Result<SchemaPtr> SchemaReader::ReadTyped(const Keywords& keywords, const Place& place) {
  const JsonValue* type = keywords.Find("type");
  if (type != nullptr && type->is_string()) return ReadType(type->get_string(), keywords, place);
  std::vector<SchemaPtr> options;
  if (type == nullptr) {
    for (const std::string_view name : kTypes) {
      LEM_ASSIGN_OR_RETURN(options.emplace_back(), ReadType(name, keywords, place));
    }
  } else if (type->is_array()) {
    for (const JsonValue& name : type->get_array()) {
      if (!name.is_string()) return ErrorAt(place, "type has to be a string or an array of strings");
      LEM_ASSIGN_OR_RETURN(options.emplace_back(), ReadType(name.get_string(), keywords, place));
    }
  } else {
    return ErrorAt(place, "type has to be a string or an array of strings");
  }
  return MakeOptions(Kind::kAnyOf, std::move(options), place.path);
}

Result<SchemaPtr> SchemaReader::ReadType(std::string_view type, const Keywords& keywords, const Place& place) {
  if (type == "null") return MakeKind(Kind::kNull);
  if (type == "boolean") return MakeKind(Kind::kBool);
  if (type == "number" || type == "integer") return ReadNumber(type == "integer", keywords, place);
  if (type == "string") return ReadString(keywords, place);
  if (type == "array") return ReadArray(keywords, place);
  if (type == "object") return ReadProperties(keywords, place);
  return ErrorAt(place, "the type {} is none; allowed: null, boolean, number, integer, string, array, object",
                 JsonQuote(type.substr(0, 80)));
}

Result<SchemaPtr> SchemaReader::ReadNumber(bool integer, const Keywords& keywords, const Place& place) {
  Schema schema;
  schema.kind = Kind::kNumber;
  NumberSchema& number = schema.number;
  number.integer = integer;
  for (const bool low : {true, false}) {
    const JsonValue* inclusive = keywords.Find(low ? "minimum" : "maximum");
    const JsonValue* exclusive = keywords.Find(low ? "exclusiveMinimum" : "exclusiveMaximum");
    // Draft 4: true or false beside the bound.
    const bool flag = exclusive != nullptr && exclusive->is_bool();
    for (const JsonValue* bound : {inclusive, flag ? nullptr : exclusive}) {
      if (bound == nullptr) continue;
      const std::optional<Number> value = NumberOf(*bound);
      if (!value) return ErrorAt(place, "a bound of a number has to be a number of at most 400 digits");
      const bool strict = bound == exclusive || (flag && exclusive->get_bool());
      low ? number.RaiseMin(*value, strict) : number.LowerMax(*value, strict);
    }
  }
  if (const JsonValue* multiple = keywords.Find("multipleOf"); multiple != nullptr) {
    const std::optional<Number> value = NumberOf(*multiple);
    if (!value || value->negative || value->magnitude == Decimal{}) {
      return ErrorAt(place, "multipleOf has to be a number over 0");
    }
    const std::string digits = value->magnitude.whole + value->magnitude.fraction;
    uint64_t integral = 0;
    for (const char c : digits) integral = std::min(integral * 10 + static_cast<uint64_t>(c - '0'), kMaxMultiple + 1);
    if (integral > kMaxMultiple) {
      return ErrorAt(place, "multipleOf with digits over {} is not supported; leave it out", kMaxMultiple);
    }
    number.multiples.push_back(
        {static_cast<uint32_t>(integral), static_cast<uint32_t>(value->magnitude.fraction.size())});
  }
  return Make(std::move(schema));
}

Result<std::pair<uint32_t, uint32_t>> SchemaReader::ReadCounts(const Keywords& keywords, std::string_view min_name,
                                                               std::string_view max_name, const Place& place) {
  LEM_ASSIGN_OR_RETURN(const std::optional<uint32_t> min, ReadCount(keywords, min_name, place));
  LEM_ASSIGN_OR_RETURN(const std::optional<uint32_t> max, ReadCount(keywords, max_name, place));
  return std::pair(min.value_or(0), max.value_or(kNoMax));
}

Result<std::optional<uint32_t>> SchemaReader::ReadCount(const Keywords& keywords, std::string_view name,
                                                        const Place& place) {
  const JsonValue* value = keywords.Find(name);
  if (value == nullptr) return std::optional<uint32_t>();
  constexpr uint64_t kMaxCount = 1'000'000'000;
  if (value->is_int64() && value->get_int64() >= 0) {
    return std::optional<uint32_t>(static_cast<uint32_t>(std::min<uint64_t>(value->as_int64(), kMaxCount)));
  }
  if (value->is_uint64()) return std::optional<uint32_t>(static_cast<uint32_t>(kMaxCount));
  if (value->is_double() && value->get_double() >= 0 &&
      value->get_double() == static_cast<double>(static_cast<int64_t>(std::min(value->get_double(), 1e9)))) {
    return std::optional<uint32_t>(static_cast<uint32_t>(value->get_double()));
  }
  return ErrorAt(place, "{} has to be a whole number of 0 or more", name);
}

Result<ExprId> SchemaReader::ReadPattern(const std::string& pattern, const Place& place) {
  if (const auto known = patterns_.find(pattern); known != patterns_.end()) return known->second;
  Result<ExprId> expr = CompileRegex(builder_, builder_.json_text(), pattern, RegexMatch::kSearch);
  if (!expr.ok()) return ErrorAt(place, "{}", expr.status().message());
  patterns_.emplace(pattern, *expr);
  return expr;
}

Result<SchemaPtr> SchemaReader::ReadString(const Keywords& keywords, const Place& place) {
  Schema schema;
  schema.kind = Kind::kString;
  StringSchema& string = schema.string;
  LEM_ASSIGN_OR_RETURN(std::tie(string.min, string.max), ReadCounts(keywords, "minLength", "maxLength", place));
  if (const JsonValue* pattern = keywords.Find("pattern"); pattern != nullptr) {
    if (!pattern->is_string()) return ErrorAt(place, "pattern has to be a string");
    LEM_ASSIGN_OR_RETURN(string.parts.emplace_back(), ReadPattern(std::string(pattern->get_string()), place));
  }
  if (const JsonValue* format = keywords.Find("format"); format != nullptr) {
    if (!format->is_string()) return ErrorAt(place, "format has to be a string");
    const std::string_view name = format->get_string();
    const std::optional<std::string_view> pattern = FormatPattern(name);
    if (!pattern) {
      return ErrorAt(place, "the format {} is not supported; leave it out or use a pattern",
                     JsonQuote(name.substr(0, 80)));
    }
    LEM_ASSIGN_OR_RETURN(string.parts.emplace_back(), ReadPattern(fmt::format("^(?:{})$", *pattern), place));
  }
  if (string.min > string.max) return NeverSchema();
  return Make(std::move(schema));
}

Result<SchemaPtr> SchemaReader::ReadArray(const Keywords& keywords, const Place& place) {
  Schema schema;
  schema.kind = Kind::kArray;
  ArraySchema& array = schema.array;
  LEM_ASSIGN_OR_RETURN(std::tie(array.min, array.max), ReadCounts(keywords, "minItems", "maxItems", place));
  const JsonValue* prefix = keywords.Find("prefixItems");
  const JsonValue* items = keywords.Find("items");
  std::string_view items_name = "items", prefix_name = "prefixItems";
  const JsonValue* all_prefix = keywords.schema->if_contains("prefixItems");
  if (items != nullptr && items->is_array()) {  // before 2020-12
    prefix = items;
    prefix_name = "items";
    items = keywords.Find("additionalItems");
    items_name = "additionalItems";
  } else if (items != nullptr && prefix == nullptr && all_prefix != nullptr && all_prefix->is_array()) {
    // Read apart from prefixItems, it still begins after them.
    array.prefix.assign(all_prefix->get_array().size(), AnySchema());
  }
  const auto inside = [&](std::string_view name) {
    Place inner = place;
    inner.path += fmt::format("/{}", name);
    return inner;
  };
  if (prefix != nullptr) {
    if (!prefix->is_array()) return ErrorAt(place, "{} has to be an array", prefix_name);
    for (const JsonValue& item : prefix->get_array()) {
      LEM_ASSIGN_OR_RETURN(array.prefix.emplace_back(), Read(item, inside(prefix_name)));
    }
  }
  if (items != nullptr) {
    LEM_ASSIGN_OR_RETURN(array.items, Read(*items, inside(items_name)));
  }
  if (const JsonValue* unique = keywords.Find("uniqueItems");
      unique != nullptr && unique->is_bool() && unique->get_bool() && array.max > 1) {
    return ErrorAt(place, "the keyword 'uniqueItems' is not supported for arrays of more than one item; leave it out");
  }
  if (array.min > array.max) return NeverSchema();
  return Make(std::move(schema));
}

Result<SchemaPtr> SchemaReader::ReadProperties(const Keywords& keywords, const Place& place) {
  ObjectSchema object;
  LEM_ASSIGN_OR_RETURN(std::tie(object.min, object.max), ReadCounts(keywords, "minProperties", "maxProperties", place));
  const auto inside = [&](std::string_view name) {
    Place inner = place;
    inner.path += "/";
    inner.path += name;
    return inner;
  };
  const JsonValue* properties = keywords.Find("properties");
  const JsonValue* additional = keywords.Find("additionalProperties");
  // Read apart from properties or patternProperties, additionalProperties still leaves theirs alone.
  const auto read_members = [&](const JsonValue* members, std::string_view name, const auto& add) -> Status {
    const bool apart = members == nullptr && additional != nullptr;
    if (apart) members = keywords.schema->if_contains(name);
    if (members == nullptr) return OkStatus();
    if (!members->is_object()) return ErrorAt(place, "{} has to be an object", name);
    for (const auto& member : members->get_object()) {
      SchemaPtr read = AnySchema();
      if (!apart) {
        LEM_ASSIGN_OR_RETURN(read, Read(member.value(), inside(fmt::format("{}/{}", name, Escaped(member.key())))));
      }
      LEM_TRY(add(std::string(member.key()), std::move(read)));
    }
    return OkStatus();
  };
  LEM_TRY(read_members(properties, "properties", [&](const std::string& name, SchemaPtr read) {
    object.Set(name, std::move(read));
    return OkStatus();
  }));
  LEM_TRY(read_members(keywords.Find("patternProperties"), "patternProperties",
                       [&](std::string source, SchemaPtr read) -> Status {
                         LEM_ASSIGN_OR_RETURN(const ExprId key, ReadPattern(source, inside("patternProperties")));
                         object.patterns.push_back({std::move(source), key, std::move(read)});
                         return OkStatus();
                       }));
  if (additional != nullptr) {
    LEM_ASSIGN_OR_RETURN(object.additional, Read(*additional, inside("additionalProperties")));
  }
  if (const JsonValue* names = keywords.Find("propertyNames"); names != nullptr && !IsTrivial(*names)) {
    LEM_ASSIGN_OR_RETURN(SchemaPtr read, Read(*names, inside("propertyNames")));
    Schema any_string;
    any_string.kind = Kind::kString;
    LEM_ASSIGN_OR_RETURN(read, Join(read, Make(std::move(any_string)), 0));
    if (read->kind != Kind::kString) {
      return ErrorAt(place, "the keyword 'propertyNames' is supported with constraints of one string only");
    }
    object.key_parts.push_back(StringContent(read->string));
  }
  if (const JsonValue* required = keywords.Find("required"); required != nullptr) {
    if (!required->is_array()) return ErrorAt(place, "required has to be an array of names");
    for (const JsonValue& name : required->get_array()) {
      if (!name.is_string()) return ErrorAt(place, "required has to be an array of names");
      object.required.emplace_back(name.get_string());
    }
  }
  return MakeObject(std::move(object), 0);
}

}  // namespace lem
