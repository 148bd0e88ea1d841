#include "formats/gguf.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "formats/byte_reader.h"
#include "formats/gguf_parser.h"
#include "formats/quote.h"

namespace lem {
namespace {

bool IsSigned(GgufType type) {
  return type == GgufType::kInt8 || type == GgufType::kInt16 || type == GgufType::kInt32 || type == GgufType::kInt64;
}

bool IsInteger(GgufType type) {
  return IsSigned(type) || type == GgufType::kUint8 || type == GgufType::kUint16 || type == GgufType::kUint32 ||
         type == GgufType::kUint64;
}

bool IsFloat(GgufType type) { return type == GgufType::kFloat32 || type == GgufType::kFloat64; }

// The bits of an integer of any type, sign-extended to 64. REQUIRES: IsInteger(type).
uint64_t LoadIntegerBits(GgufType type, const std::byte* bytes) {
  switch (type) {
    case GgufType::kUint8:
      return LoadLittleEndian<uint8_t>(bytes);
    case GgufType::kInt8:
      return static_cast<uint64_t>(LoadLittleEndian<int8_t>(bytes));
    case GgufType::kUint16:
      return LoadLittleEndian<uint16_t>(bytes);
    case GgufType::kInt16:
      return static_cast<uint64_t>(LoadLittleEndian<int16_t>(bytes));
    case GgufType::kUint32:
      return LoadLittleEndian<uint32_t>(bytes);
    case GgufType::kInt32:
      return static_cast<uint64_t>(LoadLittleEndian<int32_t>(bytes));
    default:
      return LoadLittleEndian<uint64_t>(bytes);
  }
}

// nullopt if an unsigned value does not fit.
std::optional<int64_t> LoadInt64(GgufType type, const std::byte* bytes) {
  const uint64_t bits = LoadIntegerBits(type, bytes);
  if (!IsSigned(type) && bits > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(bits);
}

double LoadFloat(GgufType type, const std::byte* bytes) {
  return type == GgufType::kFloat32 ? static_cast<double>(LoadLittleEndian<float>(bytes))
                                    : LoadLittleEndian<double>(bytes);
}

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string TypeText(const GgufEntry& entry) {
  if (entry.type != GgufType::kArray) return std::string(GgufTypeName(entry.type));
  return fmt::format("array of {}", GgufTypeName(entry.element_type));
}

template <typename Item>
const Item* FindSorted(const std::vector<Item>& items, const std::vector<uint32_t>& order,
                       std::string_view Item::* name, std::string_view wanted) {
  const auto found = std::ranges::lower_bound(order, wanted, {}, [&](uint32_t i) { return items[i].*name; });
  return found != order.end() && items[*found].*name == wanted ? &items[*found] : nullptr;
}

// The fallback in place of NotFound.
template <typename T>
Result<T> ValueOr(Result<T> value, T fallback) {
  if (!value.ok() && value.error().code() == StatusCode::kNotFound) return fallback;
  return value;
}

}  // namespace

std::string_view GgufTypeName(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
      return "uint8";
    case GgufType::kInt8:
      return "int8";
    case GgufType::kUint16:
      return "uint16";
    case GgufType::kInt16:
      return "int16";
    case GgufType::kUint32:
      return "uint32";
    case GgufType::kInt32:
      return "int32";
    case GgufType::kFloat32:
      return "float32";
    case GgufType::kBool:
      return "bool";
    case GgufType::kString:
      return "string";
    case GgufType::kArray:
      return "array";
    case GgufType::kUint64:
      return "uint64";
    case GgufType::kInt64:
      return "int64";
    case GgufType::kFloat64:
      return "float64";
  }
  return "unknown";
}

uint64_t GgufTensor::num_elements() const {
  uint64_t product = 1;
  for (const uint64_t dim : dims) product *= dim;  // the parser has checked that it fits
  return product;
}

struct GgufFile::Rep {
  std::string name;
  MappedFile map;  // empty after Parse
  std::span<const std::byte> bytes;
  GgufContents contents;

  const GgufEntry* Find(std::string_view key) const {
    return FindSorted(contents.entries, contents.entries_by_key, &GgufEntry::key, key);
  }

  Result<const GgufEntry*> Require(std::string_view key) const {
    const GgufEntry* entry = Find(key);
    if (entry == nullptr) return NotFound("{}: metadata key {} is missing", name, QuoteForMessage(key));
    return entry;
  }

  Status WrongType(const GgufEntry& entry, std::string_view expected) const {
    return InvalidArgument("{}: metadata key {} is of type {}; expected: {}", name, QuoteForMessage(entry.key),
                           TypeText(entry), expected);
  }

  // The entry if it is an array whose element type passes `allowed`.
  Result<const GgufEntry*> RequireArray(std::string_view key, bool (*allowed)(GgufType),
                                        std::string_view expected) const {
    LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, Require(key));
    if (entry->type != GgufType::kArray || !allowed(entry->element_type)) return WrongType(*entry, expected);
    return entry;
  }
};

GgufFile::GgufFile(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

Result<GgufFile> GgufFile::Open(const std::filesystem::path& path) {
  LEM_ASSIGN_OR_RETURN(MappedFile map, MappedFile::Open(path));
  LEM_ASSIGN_OR_RETURN(GgufFile file, Parse(map.bytes(), path.string()));
  file.rep_->map = std::move(map);
  return file;
}

Result<GgufFile> GgufFile::Parse(std::span<const std::byte> bytes, std::string_view name) {
  LEM_ASSIGN_OR_RETURN(GgufContents contents, ParseGguf(bytes, name));
  GgufFile file(std::make_unique<Rep>(Rep{std::string(name), MappedFile(), bytes, std::move(contents)}));
  LEM_ASSIGN_OR_RETURN(const uint64_t num_parts, file.GetUintOr("split.count", 1));
  if (num_parts > 1) {
    return Unimplemented("{} is one part of a model split in {} (metadata key 'split.count'). Join the parts first",
                         name, num_parts);
  }
  return file;
}

uint32_t GgufFile::version() const { return rep_->contents.version; }
uint64_t GgufFile::alignment() const { return rep_->contents.alignment; }
std::span<const std::byte> GgufFile::file_bytes() const { return rep_->bytes; }

std::vector<std::string_view> GgufFile::keys() const {
  std::vector<std::string_view> keys;
  keys.reserve(rep_->contents.entries.size());
  for (const GgufEntry& entry : rep_->contents.entries) keys.push_back(entry.key);
  return keys;
}

bool GgufFile::Has(std::string_view key) const { return rep_->Find(key) != nullptr; }

std::optional<GgufType> GgufFile::TypeOf(std::string_view key) const {
  const GgufEntry* entry = rep_->Find(key);
  if (entry == nullptr) return std::nullopt;
  return entry->type;
}

Result<uint64_t> GgufFile::GetUint(std::string_view key) const {
  LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, rep_->Require(key));
  if (!IsInteger(entry->type)) return rep_->WrongType(*entry, "an integer");
  const uint64_t bits = LoadIntegerBits(entry->type, entry->value.data());
  if (IsSigned(entry->type) && static_cast<int64_t>(bits) < 0) {
    return InvalidArgument("{}: metadata key {} is {}; allowed: 0 or more", rep_->name, QuoteForMessage(key),
                           static_cast<int64_t>(bits));
  }
  return bits;
}

Result<int64_t> GgufFile::GetInt(std::string_view key) const {
  LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, rep_->Require(key));
  if (!IsInteger(entry->type)) return rep_->WrongType(*entry, "an integer");
  const std::optional<int64_t> value = LoadInt64(entry->type, entry->value.data());
  if (!value) {
    return InvalidArgument("{}: metadata key {} is {}; allowed: less than 2^63", rep_->name, QuoteForMessage(key),
                           LoadIntegerBits(entry->type, entry->value.data()));
  }
  return *value;
}

Result<double> GgufFile::GetFloat(std::string_view key) const {
  LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, rep_->Require(key));
  if (!IsFloat(entry->type)) return rep_->WrongType(*entry, "float32 or float64");
  return LoadFloat(entry->type, entry->value.data());
}

Result<bool> GgufFile::GetBool(std::string_view key) const {
  LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, rep_->Require(key));
  if (entry->type != GgufType::kBool) return rep_->WrongType(*entry, "bool");
  return entry->value[0] != std::byte{0};
}

Result<std::string_view> GgufFile::GetString(std::string_view key) const {
  LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, rep_->Require(key));
  if (entry->type != GgufType::kString) return rep_->WrongType(*entry, "string");
  return AsText(entry->value);
}

Result<uint64_t> GgufFile::GetUintOr(std::string_view key, uint64_t fallback) const {
  return ValueOr(GetUint(key), fallback);
}
Result<double> GgufFile::GetFloatOr(std::string_view key, double fallback) const {
  return ValueOr(GetFloat(key), fallback);
}
Result<bool> GgufFile::GetBoolOr(std::string_view key, bool fallback) const { return ValueOr(GetBool(key), fallback); }
Result<std::string_view> GgufFile::GetStringOr(std::string_view key, std::string_view fallback) const {
  return ValueOr(GetString(key), fallback);
}

Result<std::vector<std::string_view>> GgufFile::GetStrings(std::string_view key) const {
  const auto is_string = [](GgufType type) { return type == GgufType::kString; };
  LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, rep_->RequireArray(key, is_string, "array of string"));
  std::vector<std::string_view> strings;
  strings.reserve(entry->num_elements);
  ByteReader reader(entry->value);
  // The parser has walked the same bytes, so each string is there.
  for (uint64_t i = 0; i < entry->num_elements; ++i) strings.push_back(reader.ReadString().value_or(""));
  return strings;
}

Result<std::vector<int64_t>> GgufFile::GetInts(std::string_view key) const {
  LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, rep_->RequireArray(key, IsInteger, "array of an integer type"));
  const uint64_t size = GgufScalarSize(entry->element_type);
  std::vector<int64_t> values;
  values.reserve(entry->num_elements);
  for (uint64_t i = 0; i < entry->num_elements; ++i) {
    const std::optional<int64_t> value = LoadInt64(entry->element_type, entry->value.data() + i * size);
    if (!value) {
      return InvalidArgument("{}: element {} of metadata key {} is {}; allowed: less than 2^63", rep_->name, i,
                             QuoteForMessage(key),
                             LoadIntegerBits(entry->element_type, entry->value.data() + i * size));
    }
    values.push_back(*value);
  }
  return values;
}

Result<std::vector<float>> GgufFile::GetFloats(std::string_view key) const {
  LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, rep_->RequireArray(key, IsFloat, "array of float32 or float64"));
  const uint64_t size = GgufScalarSize(entry->element_type);
  std::vector<float> values;
  values.reserve(entry->num_elements);
  for (uint64_t i = 0; i < entry->num_elements; ++i) {
    values.push_back(static_cast<float>(LoadFloat(entry->element_type, entry->value.data() + i * size)));
  }
  return values;
}

Result<std::vector<bool>> GgufFile::GetBools(std::string_view key) const {
  const auto is_bool = [](GgufType type) { return type == GgufType::kBool; };
  LEM_ASSIGN_OR_RETURN(const GgufEntry* entry, rep_->RequireArray(key, is_bool, "array of bool"));
  std::vector<bool> values;
  values.reserve(entry->num_elements);
  for (const std::byte value : entry->value) values.push_back(value != std::byte{0});
  return values;
}

std::string GgufFile::Describe(std::string_view key) const {
  const GgufEntry* entry = rep_->Find(key);
  LEM_CHECK(entry != nullptr) << key;
  const std::byte* value = entry->value.data();
  switch (entry->type) {
    case GgufType::kString:
      return QuoteForMessage(AsText(entry->value));
    case GgufType::kArray:
      return fmt::format("[{} {}{}]", entry->num_elements, GgufTypeName(entry->element_type),
                         entry->element_type == GgufType::kString && entry->num_elements != 1 ? "s" : "");
    case GgufType::kBool:
      return value[0] != std::byte{0} ? "true" : "false";
    case GgufType::kFloat32:
      return fmt::format("{}", LoadLittleEndian<float>(value));
    case GgufType::kFloat64:
      return fmt::format("{}", LoadLittleEndian<double>(value));
    default: {
      const uint64_t bits = LoadIntegerBits(entry->type, value);
      return IsSigned(entry->type) ? fmt::format("{}", static_cast<int64_t>(bits)) : fmt::format("{}", bits);
    }
  }
}

std::span<const GgufTensor> GgufFile::tensors() const { return rep_->contents.tensors; }

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  return FindSorted(rep_->contents.tensors, rep_->contents.tensors_by_name, &GgufTensor::name, name);
}

}  // namespace lem
