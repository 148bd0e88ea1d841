// Reads tests/data/quants/quants.json, the oracle of the quantisation tests (see make_quants.py beside it).
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "tensor/dtype.h"

namespace lem {

struct QuantsCase {
  std::string type;  // "Q4_K"
  DType dtype = DType::kF32;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

inline std::vector<std::byte> BytesFromHex(std::string_view hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(std::stoi(std::string(hex.substr(2 * i, 2)), nullptr, 16));
  }
  return bytes;
}

// The cases of one list of the file: "dequantize" or "quantize".
inline std::vector<QuantsCase> ReadQuantsCases(std::string_view list) {
  const auto text = ReadFile(LEM_SOURCE_DIR "/tests/data/quants/quants.json");
  const auto json = ParseJson(text.value());
  std::vector<QuantsCase> cases;
  for (const JsonValue& entry : json.value().at(list).as_array()) {
    QuantsCase& c = cases.emplace_back();
    c.type = entry.at("type").as_string();
    for (uint32_t id = 0; id < 64; ++id) {
      const DTypeInfo* info = FindDType(id);
      if (info != nullptr && info->name == c.type) c.dtype = info->dtype;
    }
    c.bytes = BytesFromHex(entry.at("bytes").as_string());
    const std::vector<std::byte> values = BytesFromHex(entry.at("values").as_string());
    c.values.resize(values.size() / sizeof(float));
    std::memcpy(c.values.data(), values.data(), values.size());
  }
  return cases;
}

}  // namespace lem
