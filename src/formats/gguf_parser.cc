// Layout of a GGUF file, all numbers little endian (ggml's docs/gguf.md):
//
//   "GGUF"  version:u32  num_tensors:u64  num_keys:u64
//   num_keys times:     key:string  type:u32  value
//   num_tensors times:  name:string  num_dims:u32  dims:u64[num_dims]  type:u32  offset:u64
//   padding to the alignment (key general.alignment, else 32), then the tensor data; offsets count from here
//
//   string = length:u64 bytes      array value = element_type:u32 count:u64 elements      bool = one byte, 0 or 1
#include "formats/gguf_parser.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/checked_math.h"
#include "formats/byte_reader.h"
#include "formats/quote.h"

namespace lem {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kDefaultAlignment = 32;
// Fewer than 8 would misalign 64-bit elements; more than a large page of any system serves nobody.
constexpr uint64_t kMinAlignment = 8;
constexpr uint64_t kMaxAlignment = uint64_t{64} << 10;
// Of the specification. Programs built on ggml hold both names in fixed buffers, so longer ones are not in use.
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTensorNameBytes = 64;
constexpr uint32_t kMaxDims = 4;
// Limits on counts keep what a hostile file can make us allocate small. Known files have below 100 keys, 5,000 tensors
// and 600,000 elements in an array.
constexpr uint64_t kMaxKeys = uint64_t{64} << 10;
constexpr uint64_t kMaxTensors = uint64_t{1} << 20;
constexpr uint64_t kMaxArrayElements = uint64_t{16} << 20;
constexpr int kMaxArrayDepth = 4;
// The least bytes that one of them takes: empty name, one-byte value; empty name, no dimensions.
constexpr uint64_t kMinKeyBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorInfoBytes = 8 + 4 + 4 + 8;

constexpr std::string_view kDamaged = "the file is truncated or damaged: fetch it again";

struct TypeName {
  uint32_t id;
  std::string_view name;
};
// Types of ggml that exist but that DType has not, so that the message can name them.
constexpr std::array kUnsupportedTypes = {
    TypeName{9, "Q8_1"},     TypeName{15, "Q8_K"},   TypeName{16, "IQ2_XXS"}, TypeName{17, "IQ2_XS"},
    TypeName{18, "IQ3_XXS"}, TypeName{19, "IQ1_S"},  TypeName{20, "IQ4_NL"},  TypeName{21, "IQ3_S"},
    TypeName{22, "IQ2_S"},   TypeName{23, "IQ4_XS"}, TypeName{29, "IQ1_M"},   TypeName{34, "TQ1_0"},
    TypeName{35, "TQ2_0"},   TypeName{39, "MXFP4"},
};

std::string_view UnsupportedTypeName(uint32_t id) {
  for (const TypeName& type : kUnsupportedTypes) {
    if (type.id == id) return type.name;
  }
  return "unknown";
}

template <typename Item>
std::vector<uint32_t> SortedBy(const std::vector<Item>& items, std::string_view Item::* name) {
  std::vector<uint32_t> order(items.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  // Sorting, not hashing: no choice of names makes it slow.
  std::ranges::sort(order, {}, [&](uint32_t i) { return items[i].*name; });
  return order;
}

// The first name that occurs twice, if any.
template <typename Item>
std::optional<std::string_view> FindDuplicate(const std::vector<Item>& items, std::string_view Item::* name,
                                              const std::vector<uint32_t>& order) {
  const auto same = [&](uint32_t a, uint32_t b) { return items[a].*name == items[b].*name; };
  const auto found = std::ranges::adjacent_find(order, same);
  if (found == order.end()) return std::nullopt;
  return items[*found].*name;
}

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, std::string_view name) : reader_(bytes), bytes_(bytes), file_(name) {}

  Result<GgufContents> Parse() {
    LEM_TRY(ParseHeader());
    LEM_TRY(ParseEntries());
    LEM_TRY(ReadAlignment());
    LEM_TRY(ParseTensorInfos());
    LEM_TRY(LocateTensors());
    LEM_TRY(CheckOverlaps());
    return std::move(contents_);
  }

 private:
  Status Truncated(std::string_view inside) const {
    return DataLoss("{} ends after {} bytes, inside {}: {}", file_, bytes_.size(), inside, kDamaged);
  }
  std::string KeyLabel(std::string_view key) const { return fmt::format("metadata key {}", QuoteForMessage(key)); }
  std::string TensorLabel(std::string_view name) const { return fmt::format("tensor {}", QuoteForMessage(name)); }

  Status ParseHeader() {
    const auto magic = reader_.ReadBytes(kMagic.size());
    if (!magic) {
      return InvalidArgument("{} is not a GGUF file: it has {} bytes and a GGUF header takes 24", file_, bytes_.size());
    }
    if (std::string_view(reinterpret_cast<const char*>(magic->data()), magic->size()) != kMagic) {
      return InvalidArgument("{} is not a GGUF file: it begins with bytes {:02x}, not with \"GGUF\"", file_,
                             fmt::join(reinterpret_cast<const uint8_t*>(magic->data()),
                                       reinterpret_cast<const uint8_t*>(magic->data()) + magic->size(), " "));
    }
    const auto version = reader_.Read<uint32_t>();
    const auto num_tensors = reader_.Read<uint64_t>();
    const auto num_keys = reader_.Read<uint64_t>();
    if (version && *version != 2 && *version != 3) {
      // Read in the wrong byte order, a small version has its only set byte at the top.
      const bool is_big_endian = *version != 0 && (*version & 0xffff) == 0;
      return InvalidArgument("{} is GGUF {}; allowed: little-endian versions 2 and 3. Convert it again", file_,
                             is_big_endian ? "in big-endian order" : fmt::format("version {}", *version));
    }
    if (!num_keys) return Truncated("the header");
    LEM_TRY(CheckCount("tensors", *num_tensors, kMinTensorInfoBytes, kMaxTensors));
    LEM_TRY(CheckCount("metadata keys", *num_keys, kMinKeyBytes, kMaxKeys));
    contents_.version = *version;
    num_tensors_ = *num_tensors;
    num_keys_ = *num_keys;
    return OkStatus();
  }

  // A count from the file, before anything is allocated for it.
  Status CheckCount(std::string_view what, uint64_t count, uint64_t min_item_bytes, uint64_t limit) const {
    if (count > reader_.bytes_left() / min_item_bytes) {
      return DataLoss("{} claims {} {}, but only {} bytes are left: {}", file_, count, what, reader_.bytes_left(),
                      kDamaged);
    }
    if (count > limit) return DataLoss("{} has {} {}; allowed: at most {}", file_, count, what, limit);
    return OkStatus();
  }

  Status ParseEntries() {
    contents_.entries.reserve(num_keys_);
    for (uint64_t i = 0; i < num_keys_; ++i) {
      const auto key = reader_.ReadString();
      if (!key) return Truncated(fmt::format("the name of metadata key {} of {}", i + 1, num_keys_));
      if (key->empty() || key->size() > kMaxKeyBytes) {
        return DataLoss("{}: the name of metadata key {} has {} bytes; allowed: 1 to {}", file_, i + 1, key->size(),
                        kMaxKeyBytes);
      }
      GgufEntry entry;
      entry.key = *key;
      LEM_TRY(ParseValue(entry));
      contents_.entries.push_back(entry);
    }
    contents_.entries_by_key = SortedBy(contents_.entries, &GgufEntry::key);
    if (const auto key = FindDuplicate(contents_.entries, &GgufEntry::key, contents_.entries_by_key)) {
      return DataLoss("{}: {} occurs twice; allowed: once", file_, KeyLabel(*key));
    }
    return OkStatus();
  }

  Result<GgufType> ParseType(std::string_view key) {
    const auto id = reader_.Read<uint32_t>();
    if (!id) return Truncated(KeyLabel(key));
    if (*id > static_cast<uint32_t>(GgufType::kFloat64)) {
      return DataLoss("{}: {} has value type {}; allowed: 0 to {}", file_, KeyLabel(key), *id,
                      static_cast<uint32_t>(GgufType::kFloat64));
    }
    return static_cast<GgufType>(*id);
  }

  Status ParseValue(GgufEntry& entry) {
    LEM_ASSIGN_OR_RETURN(entry.type, ParseType(entry.key));
    if (entry.type == GgufType::kArray) {
      LEM_ASSIGN_OR_RETURN(entry.element_type, ParseType(entry.key));
      LEM_ASSIGN_OR_RETURN(entry.num_elements, ParseArrayCount(entry.key, entry.element_type));
      const uint64_t start = reader_.position();
      LEM_TRY(SkipValues(entry.key, entry.element_type, entry.num_elements, 1));
      entry.value = bytes_.subspan(start, reader_.position() - start);
      return OkStatus();
    }
    const uint64_t start = reader_.position() + (entry.type == GgufType::kString ? sizeof(uint64_t) : 0);
    LEM_TRY(SkipValues(entry.key, entry.type, 1, 0));
    entry.value = bytes_.subspan(start, reader_.position() - start);
    return OkStatus();
  }

  Result<uint64_t> ParseArrayCount(std::string_view key, GgufType element_type) {
    const auto count = reader_.Read<uint64_t>();
    if (!count) return Truncated(KeyLabel(key));
    const uint64_t scalar_size = GgufScalarSize(element_type);
    const uint64_t min_bytes = scalar_size != 0                    ? scalar_size
                               : element_type == GgufType::kString ? sizeof(uint64_t)
                                                                   : sizeof(uint32_t) + sizeof(uint64_t);
    Status status = CheckCount("array elements", *count, min_bytes, kMaxArrayElements);
    if (!status.ok()) return std::move(status).WithContext(KeyLabel(key));
    return *count;
  }

  // Moves past `count` values inside `depth` arrays, checking each.
  Status SkipValues(std::string_view key, GgufType type, uint64_t count, int depth) {
    switch (type) {
      case GgufType::kString:
        for (uint64_t i = 0; i < count; ++i) {
          if (!reader_.ReadString()) return Truncated(KeyLabel(key));
        }
        return OkStatus();
      case GgufType::kArray:
        if (depth >= kMaxArrayDepth) {
          return DataLoss("{}: {} has arrays nested deeper than {} levels; allowed: {}", file_, KeyLabel(key),
                          kMaxArrayDepth, kMaxArrayDepth);
        }
        for (uint64_t i = 0; i < count; ++i) {
          LEM_ASSIGN_OR_RETURN(const GgufType inner_type, ParseType(key));
          LEM_ASSIGN_OR_RETURN(const uint64_t inner_count, ParseArrayCount(key, inner_type));
          LEM_TRY(SkipValues(key, inner_type, inner_count, depth + 1));
        }
        return OkStatus();
      default:
        return SkipScalars(key, type, count);
    }
  }

  Status SkipScalars(std::string_view key, GgufType type, uint64_t count) {
    const auto size = CheckedMul(count, GgufScalarSize(type));
    const auto values = size ? reader_.ReadBytes(*size) : std::nullopt;
    if (!values) return Truncated(KeyLabel(key));
    if (type != GgufType::kBool) return OkStatus();
    for (const std::byte value : *values) {
      if (value > std::byte{1}) {
        return DataLoss("{}: {} has a bool of value {}; allowed: 0 and 1", file_, KeyLabel(key),
                        std::to_integer<int>(value));
      }
    }
    return OkStatus();
  }

  Status ReadAlignment() {
    constexpr std::string_view kKey = "general.alignment";
    contents_.alignment = kDefaultAlignment;
    const auto entry = std::ranges::find(contents_.entries, kKey, &GgufEntry::key);
    if (entry == contents_.entries.end()) return OkStatus();
    if (entry->type != GgufType::kUint32) {
      return InvalidArgument("{}: {} is of type {}; expected: uint32", file_, KeyLabel(kKey),
                             GgufTypeName(entry->type));
    }
    const uint64_t alignment = LoadLittleEndian<uint32_t>(entry->value.data());
    if (!IsPowerOfTwo(alignment) || alignment < kMinAlignment || alignment > kMaxAlignment) {
      return DataLoss("{}: {} is {}; allowed: a power of two from {} to {}", file_, KeyLabel(kKey), alignment,
                      kMinAlignment, kMaxAlignment);
    }
    contents_.alignment = alignment;
    return OkStatus();
  }

  Status ParseTensorInfos() {
    // Again, now that the metadata is past: the count must fit what is left.
    LEM_TRY(CheckCount("tensors", num_tensors_, kMinTensorInfoBytes, kMaxTensors));
    contents_.tensors.reserve(num_tensors_);
    for (uint64_t i = 0; i < num_tensors_; ++i) {
      const auto name = reader_.ReadString();
      if (!name) return Truncated(fmt::format("the name of tensor {} of {}", i + 1, num_tensors_));
      if (name->empty() || name->size() > kMaxTensorNameBytes) {
        return DataLoss("{}: the name of tensor {}, {}, has {} bytes; allowed: 1 to {}", file_, i + 1,
                        QuoteForMessage(*name), name->size(), kMaxTensorNameBytes);
      }
      GgufTensor tensor;
      tensor.name = *name;
      LEM_TRY(ParseTensorInfo(tensor));
      contents_.tensors.push_back(std::move(tensor));
    }
    contents_.tensors_by_name = SortedBy(contents_.tensors, &GgufTensor::name);
    if (const auto name = FindDuplicate(contents_.tensors, &GgufTensor::name, contents_.tensors_by_name)) {
      return DataLoss("{}: {} occurs twice; allowed: once", file_, TensorLabel(*name));
    }
    return OkStatus();
  }

  // Everything of a tensor but its bytes; file_offset is still relative to the tensor data.
  Status ParseTensorInfo(GgufTensor& tensor) {
    const auto num_dims = reader_.Read<uint32_t>();
    if (!num_dims) return Truncated(TensorLabel(tensor.name));
    if (*num_dims > kMaxDims) {
      return DataLoss("{}: {} has {} dimensions; allowed: 0 to {}", file_, TensorLabel(tensor.name), *num_dims,
                      kMaxDims);
    }
    tensor.dims.reserve(*num_dims);
    for (uint32_t i = 0; i < *num_dims; ++i) {
      const auto dim = reader_.Read<uint64_t>();
      if (!dim) return Truncated(TensorLabel(tensor.name));
      // No model has use for an empty tensor, and every reader of weights is simpler without.
      if (*dim == 0) {
        return DataLoss("{}: dimension {} of {} is 0; allowed: 1 or more", file_, i + 1, TensorLabel(tensor.name));
      }
      tensor.dims.push_back(*dim);
    }
    const auto type_id = reader_.Read<uint32_t>();
    const auto offset = reader_.Read<uint64_t>();
    if (!type_id || !offset) return Truncated(TensorLabel(tensor.name));
    const DTypeInfo* dtype = FindDType(*type_id);
    if (dtype == nullptr) {
      return Unimplemented("{}: {} is of type {} ({}), which is not supported. Use a file quantised to another type",
                           file_, TensorLabel(tensor.name), *type_id, UnsupportedTypeName(*type_id));
    }
    tensor.dtype = dtype->dtype;
    tensor.file_offset = *offset;
    return OkStatus();
  }

  // The size of the tensor's bytes; its number of elements fits 64 bits too.
  Result<uint64_t> TensorBytes(const GgufTensor& tensor) const {
    const DTypeInfo& dtype = GetDTypeInfo(tensor.dtype);
    const uint64_t row_elements = tensor.dims.empty() ? 1 : tensor.dims[0];
    if (row_elements % dtype.block_elements != 0) {
      return DataLoss("{}: {} of type {} has rows of {} elements; allowed: multiples of {}", file_,
                      TensorLabel(tensor.name), dtype.name, row_elements, dtype.block_elements);
    }
    std::optional<uint64_t> size = RowBytes(tensor.dtype, row_elements);
    std::optional<uint64_t> num_elements = row_elements;
    for (size_t i = 1; i < tensor.dims.size(); ++i) {
      if (size) size = CheckedMul(*size, tensor.dims[i]);
      if (num_elements) num_elements = CheckedMul(*num_elements, tensor.dims[i]);
    }
    if (!size || !num_elements) {
      return DataLoss("{}: {} has dimensions [{}], more than 2^64 bytes; the file has {}", file_,
                      TensorLabel(tensor.name), fmt::join(tensor.dims, ", "), bytes_.size());
    }
    return *size;
  }

  Status LocateTensors() {
    const auto data_start = CheckedAlignUp(reader_.position(), contents_.alignment);
    for (GgufTensor& tensor : contents_.tensors) {
      if (tensor.file_offset % contents_.alignment != 0) {
        return DataLoss("{}: {} has offset {}; allowed: multiples of the alignment, {}", file_,
                        TensorLabel(tensor.name), tensor.file_offset, contents_.alignment);
      }
      LEM_ASSIGN_OR_RETURN(const uint64_t size, TensorBytes(tensor));
      const auto start = data_start ? CheckedAdd(*data_start, tensor.file_offset) : std::nullopt;
      if (!start || !RangeFits(*start, size, bytes_.size())) {
        return DataLoss(
            "{}: {} takes {} bytes at offset {} of the tensor data, past the end of the file ({} bytes): {}", file_,
            TensorLabel(tensor.name), size, tensor.file_offset, bytes_.size(), kDamaged);
      }
      tensor.file_offset = *start;
      tensor.bytes = bytes_.subspan(*start, size);
    }
    return OkStatus();
  }

  Status CheckOverlaps() const {
    std::vector<const GgufTensor*> order;
    order.reserve(contents_.tensors.size());
    for (const GgufTensor& tensor : contents_.tensors) order.push_back(&tensor);
    std::ranges::sort(order, {}, &GgufTensor::file_offset);
    for (size_t i = 1; i < order.size(); ++i) {
      const GgufTensor& before = *order[i - 1];
      // No tensor is empty and both ends lie inside the file, so this sum cannot wrap.
      if (before.file_offset + before.bytes.size() > order[i]->file_offset) {
        return DataLoss("{}: {} and {} overlap at byte {}; tensors may not share bytes", file_,
                        TensorLabel(before.name), TensorLabel(order[i]->name), order[i]->file_offset);
      }
    }
    return OkStatus();
  }

  ByteReader reader_;
  std::span<const std::byte> bytes_;
  std::string_view file_;
  uint64_t num_tensors_ = 0;
  uint64_t num_keys_ = 0;
  GgufContents contents_;
};

}  // namespace

uint64_t GgufScalarSize(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

Result<GgufContents> ParseGguf(std::span<const std::byte> bytes, std::string_view name) {
  return GgufParser(bytes, name).Parse();
}

}  // namespace lem
