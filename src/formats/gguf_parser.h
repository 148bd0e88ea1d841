// The parser below GgufFile: checks a whole GGUF header and says where everything lies. Internal to formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/gguf.h"

namespace lem {

// One key of the metadata. The value stays encoded, checked to lie inside the file and to be well formed.
struct GgufEntry {
  std::string_view key;
  GgufType type = GgufType::kUint8;
  GgufType element_type = GgufType::kUint8;  // of an array
  uint64_t num_elements = 1;                 // of an array
  // Encoded as in the file: of a string its text, of an array its elements without their type and count.
  std::span<const std::byte> value;
};

struct GgufContents {
  uint32_t version = 0;
  uint64_t alignment = 0;
  std::vector<GgufEntry> entries;         // in file order
  std::vector<GgufTensor> tensors;        // in file order
  std::vector<uint32_t> entries_by_key;   // indices sorted by key, all different
  std::vector<uint32_t> tensors_by_name;  // indices sorted by name, all different
};

// Bytes of one value of a number or bool type; 0 for strings and arrays.
uint64_t GgufScalarSize(GgufType type);

// `name` is the file's, for messages. Errors as GgufFile::Parse.
Result<GgufContents> ParseGguf(std::span<const std::byte> bytes, std::string_view name);

}  // namespace lem
