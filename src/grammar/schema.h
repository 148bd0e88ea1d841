// JSON Schema in the form that grammars are made of: every node has one type, keywords beside each other are joined.
//
// The way of a schema: SchemaReader reads JSON into Schema nodes and joins what has to hold together (allOf, siblings
// of $ref, anyOf with properties); SchemaWriter makes expressions of them. Nodes are immutable and shared, as $ref
// does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"
#include "grammar/builder.h"

namespace lem {

struct Schema;
using SchemaPtr = std::shared_ptr<const Schema>;

// A decimal number, exactly. Zero is not negative.
struct Number {
  bool negative = false;
  Decimal magnitude;
};
// Negative, 0 or positive as a is less than, equal to or greater than b.
int Compare(const Number& a, const Number& b);
// Digits, point, exponent as JSON has them. Nothing if the digits written out would be more than 400.
std::optional<Number> ParseNumber(std::string_view text);
std::optional<Number> NumberOf(const JsonValue& value);

struct NumberSchema {
  // Values times 10^fraction_digits are multiples of it.
  struct Multiple {
    uint32_t multiple, fraction_digits;
  };
  std::optional<Number> min, max;
  bool min_exclusive = false, max_exclusive = false;
  bool integer = false;
  std::vector<Multiple> multiples;

  void RaiseMin(const Number& value, bool exclusive);
  void LowerMax(const Number& value, bool exclusive);
};

struct StringSchema {
  uint32_t min = 0, max = kNoMax;                  // code points
  std::vector<ExprId> parts;                       // all have to match, inside the quotes
  std::optional<std::vector<std::string>> values;  // one of these; then nothing else is set
};

struct ArraySchema {
  uint32_t min = 0, max = kNoMax;
  std::vector<SchemaPtr> prefix;
  SchemaPtr items;  // of the rest; null: anything
};

struct ObjectSchema {
  struct Pattern {
    std::string source;
    ExprId key;  // inside the quotes
    SchemaPtr schema;
  };
  std::vector<std::pair<std::string, SchemaPtr>> properties;  // in the order in which they are written
  std::unordered_map<std::string, size_t> index;              // of properties
  std::vector<Pattern> patterns;
  SchemaPtr additional;           // null: anything
  std::vector<ExprId> key_parts;  // what the names of others than `properties` have to match (propertyNames)
  std::vector<std::string> required;
  uint32_t min = 0, max = kNoMax;

  void Set(const std::string& name, SchemaPtr schema) {
    const auto [at, added] = index.try_emplace(name, properties.size());
    if (added) {
      properties.emplace_back(name, std::move(schema));
    } else {
      properties[at->second].second = std::move(schema);
    }
  }
};

struct Schema {
  enum class Kind : uint8_t { kAny, kNever, kNull, kBool, kNumber, kString, kArray, kObject, kAnyOf, kOneOf, kRef };
  Kind kind = Kind::kAny;
  std::optional<bool> value;  // kBool
  NumberSchema number;
  StringSchema string;
  ArraySchema array;
  ObjectSchema object;
  std::vector<SchemaPtr> options;     // kAnyOf, kOneOf
  const JsonValue* target = nullptr;  // kRef
  std::string where;                  // kOneOf: for messages
};

SchemaPtr AnySchema();
SchemaPtr NeverSchema();

// Where a $ref leads, and what names may be referred to.
class SchemaReferences {
 public:
  explicit SchemaReferences(const JsonValue& root);
  // The node that `ref` means in the resource (a schema with an $id of its own, or the root) of base `base`.
  Result<const JsonValue*> Resolve(std::string_view ref, const std::string& base) const;
  // The base of a schema that stands in one of base `base`.
  static std::string BaseOf(const JsonValue& schema, const std::string& base);

 private:
  void Index(const JsonValue& value, const std::string& base, size_t depth);
  const JsonValue& root_;
  std::unordered_map<std::string, const JsonValue*> nodes_;  // by absolute address, with #anchor
  friend class SchemaReader;
  std::unordered_map<const JsonValue*, std::string> bases_;  // of schemas with an $id
};

// Reads a schema. One for each grammar; not thread-safe; `root` outlives it.
class SchemaReader {
 public:
  SchemaReader(GrammarBuilder& builder, const JsonValue& root);

  Result<SchemaPtr> ReadRoot();
  // What a kRef node refers to. Errors also for a schema that refers to itself where its own content is needed.
  Result<SchemaPtr> Resolve(const JsonValue* target);
  // The string's content, all constraints joined.
  ExprId StringContent(const StringSchema& string);
  // `name` as it stands inside quotes.
  ExprId Key(const std::string& name);
  // The schema of a property that may or may not be listed.
  Result<SchemaPtr> PropertyOf(const ObjectSchema& object, const std::string& name);
  Result<SchemaPtr> Join(const SchemaPtr& a, const SchemaPtr& b) { return Join(a, b, 0); }

 private:
  friend class SchemaJoiner;
  struct Place {
    std::string base;
    std::string path;
  };
  struct Keywords;

  Result<SchemaPtr> Read(const JsonValue& value, const Place& place);
  Result<SchemaPtr> ReadObject(const JsonObject& schema, const Place& place);
  Result<SchemaPtr> ReadTyped(const Keywords& keywords, const Place& place);
  Result<SchemaPtr> ReadType(std::string_view type, const Keywords& keywords, const Place& place);
  Result<SchemaPtr> ReadNumber(bool integer, const Keywords& keywords, const Place& place);
  Result<SchemaPtr> ReadString(const Keywords& keywords, const Place& place);
  Result<SchemaPtr> ReadArray(const Keywords& keywords, const Place& place);
  Result<SchemaPtr> ReadProperties(const Keywords& keywords, const Place& place);
  Result<SchemaPtr> ReadConst(const JsonValue& value, const Place& place);
  Result<SchemaPtr> ReadEnum(const JsonValue& value, const Place& place);
  Result<SchemaPtr> ReadOptions(Schema::Kind kind, const JsonValue& value, const Place& place);
  Result<SchemaPtr> ReadRef(const JsonValue& value, const Place& place);
  // Two keywords: 0 and kNoMax where they are not there.
  Result<std::pair<uint32_t, uint32_t>> ReadCounts(const Keywords& keywords, std::string_view min_name,
                                                   std::string_view max_name, const Place& place);
  Result<std::optional<uint32_t>> ReadCount(const Keywords& keywords, std::string_view name, const Place& place);
  Status CheckKeyword(std::string_view name, const JsonValue& value, const JsonObject& schema, const Place& place);
  Result<ExprId> ReadPattern(const std::string& pattern, const Place& place);

  Result<SchemaPtr> Join(const SchemaPtr& a, const SchemaPtr& b, int depth);
  Result<SchemaPtr> JoinOptions(const SchemaPtr& options, const SchemaPtr& other, bool options_first, int depth);
  Result<SchemaPtr> JoinStrings(const StringSchema& a, const StringSchema& b);
  Result<SchemaPtr> JoinArrays(const ArraySchema& a, const ArraySchema& b, int depth);
  Result<SchemaPtr> JoinObjects(const ObjectSchema& a, const ObjectSchema& b, int depth);
  // Unions without parts that nothing matches, oneOf with parts that exclude each other as anyOf, and so on.
  Result<SchemaPtr> MakeOptions(Schema::Kind kind, std::vector<SchemaPtr> options, std::string where);
  // What patterns and propertyNames say of listed properties is joined to them.
  Result<SchemaPtr> MakeObject(ObjectSchema object, int depth);
  Result<SchemaPtr> CloseUnevaluated(const SchemaPtr& schema, const SchemaPtr& rest, bool objects, int depth);
  Result<bool> AreDisjoint(const SchemaPtr& a, const SchemaPtr& b, int depth);
  Result<bool> AreDisjointObjects(const ObjectSchema& a, const ObjectSchema& b, int depth);
  bool AreDisjointStrings(const StringSchema& a, const StringSchema& b);
  Status Step();

  GrammarBuilder& builder_;
  ExprSet& exprs_;
  const JsonValue& root_;
  SchemaReferences references_;
  struct Referred {
    SchemaPtr schema;
    bool open = false;
  };
  std::unordered_map<const JsonValue*, Referred> referred_;
  std::unordered_map<const JsonValue*, Place> places_;  // of targets
  std::unordered_map<std::string, ExprId> patterns_;
  size_t steps_ = 0, depth_ = 0, open_ = 0;
};

// The expression of a regular `format`, or nothing if the name is not known.
std::optional<std::string_view> FormatPattern(std::string_view name);
// The regular language of the numbers of a schema.
Result<ExprId> WriteNumber(GrammarBuilder& builder, const NumberSchema& number);

}  // namespace lem
