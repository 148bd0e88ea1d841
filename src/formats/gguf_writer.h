// Writer of GGUF files (version 3, little endian): metadata and tensors in the order they were added. For tests and
// synthetic models. Not thread-safe. Nothing checks that keys and tensor names differ: the reader does.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/status.h"
#include "formats/gguf.h"
#include "tensor/dtype.h"

namespace lem {

template <typename T, typename... Types>
concept AnyOf = (std::same_as<T, Types> || ...);
template <typename T>
concept GgufNumber =
    AnyOf<T, uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, uint64_t, int64_t, double>;
template <typename T>
concept GgufValue = GgufNumber<T> || std::convertible_to<T, std::string_view>;

// The type that a C++ type is written as.
template <GgufValue T>
constexpr GgufType GgufTypeOf() {
  if constexpr (std::same_as<T, uint8_t>) return GgufType::kUint8;
  if constexpr (std::same_as<T, int8_t>) return GgufType::kInt8;
  if constexpr (std::same_as<T, uint16_t>) return GgufType::kUint16;
  if constexpr (std::same_as<T, int16_t>) return GgufType::kInt16;
  if constexpr (std::same_as<T, uint32_t>) return GgufType::kUint32;
  if constexpr (std::same_as<T, int32_t>) return GgufType::kInt32;
  if constexpr (std::same_as<T, float>) return GgufType::kFloat32;
  if constexpr (std::same_as<T, bool>) return GgufType::kBool;
  if constexpr (std::same_as<T, uint64_t>) return GgufType::kUint64;
  if constexpr (std::same_as<T, int64_t>) return GgufType::kInt64;
  if constexpr (std::same_as<T, double>) return GgufType::kFloat64;
  return GgufType::kString;
}

class GgufWriter {
 public:
  // Takes the next piece of the file; an error ends the writing.
  using Sink = std::function<Status(std::string_view piece)>;

  // An alignment other than the default 32 is written as key general.alignment. REQUIRES: a power of two.
  explicit GgufWriter(uint32_t alignment = 32);

  template <GgufValue T>
  void Add(std::string_view key, const T& value) {
    std::string encoded;
    AppendValue(value, encoded);
    AddEncoded(key, GgufTypeOf<T>(), encoded);
  }
  template <GgufValue T>
  void AddArray(std::string_view key, const std::vector<T>& values) {
    std::string encoded;
    AppendNumber(static_cast<uint32_t>(GgufTypeOf<T>()), encoded);
    AppendNumber(static_cast<uint64_t>(values.size()), encoded);
    for (const auto& value : values) AppendValue(static_cast<const T&>(value), encoded);
    AddEncoded(key, GgufType::kArray, encoded);
  }
  // A value as the file holds it: for nested arrays.
  void AddEncoded(std::string_view key, GgufType type, std::string_view value);

  // Keeps a view of the bytes, which must live until the file is written; tensors may share them. `dims` as in
  // GgufTensor. REQUIRES: as many bytes as type and dims say.
  void AddTensor(std::string_view name, DType dtype, const std::vector<uint64_t>& dims,
                 std::span<const std::byte> bytes);

  Status WriteTo(const Sink& sink) const;
  std::string ToString() const;
  // Errors: PermissionDenied (cannot create), ResourceExhausted (cannot write). An error leaves a part of the file.
  Status WriteFile(const std::filesystem::path& path) const;

 private:
  template <GgufValue T>
  static void AppendValue(const T& value, std::string& out) {
    if constexpr (GgufNumber<T>) {
      AppendNumber(value, out);
    } else {
      AppendString(value, out);
    }
  }
  template <GgufNumber T>
  static void AppendNumber(T value, std::string& out) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  static void AppendString(std::string_view text, std::string& out);

  uint64_t alignment_;
  uint64_t num_keys_ = 0;
  std::string entries_;       // encoded
  std::string tensor_infos_;  // encoded
  uint64_t data_size_ = 0;    // of the tensors so far, with padding after each
  std::vector<std::span<const std::byte>> tensor_bytes_;
};

}  // namespace lem
