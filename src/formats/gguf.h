// Reader of GGUF files (versions 2 and 3, little endian), the model format of llama.cpp and Ollama.
//
// The file is hostile input: every count is checked against the bytes that are left before anything is allocated, and a
// file that Open accepts has all its tensors inside itself, aligned and not overlapping. Immutable after Open, so
// thread-safe. Strings and tensor bytes are views into the mapped file and live as long as the GgufFile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/dtype.h"

namespace lem {

// Value types of metadata, numbered as in the file.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
std::string_view GgufTypeName(GgufType type);

struct GgufTensor {
  std::string_view name;
  DType dtype = DType::kF32;
  // Sizes, fastest-varying first as GGUF stores them: a matrix of N rows and K columns is {K, N}.
  std::vector<uint64_t> dims;
  std::span<const std::byte> bytes;
  uint64_t file_offset = 0;  // of bytes, from the start of the file

  uint64_t num_elements() const;
};

class GgufFile {
 public:
  // Maps the file. Errors: as MappedFile::Open; InvalidArgument (not a GGUF file, version), DataLoss (truncated,
  // inconsistent), Unimplemented (tensor type not known), each naming the file, the key or tensor and the values.
  static Result<GgufFile> Open(const std::filesystem::path& path);
  // Reads a file already in memory; the bytes must outlive the result. `name` is used in messages.
  static Result<GgufFile> Parse(std::span<const std::byte> bytes, std::string_view name);

  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  ~GgufFile();

  uint32_t version() const;
  uint64_t alignment() const;
  std::span<const std::byte> file_bytes() const;

  // --- metadata ---
  // Keys in file order.
  std::vector<std::string_view> keys() const;
  bool Has(std::string_view key) const;
  std::optional<GgufType> TypeOf(std::string_view key) const;

  // Typed getters. A missing key is NotFound; a key of another type is InvalidArgument naming the key, the type found
  // and the type expected. GetUint takes every integer type (and rejects negative values), GetInt every one that fits
  // int64, GetFloat both float types.
  Result<uint64_t> GetUint(std::string_view key) const;
  Result<int64_t> GetInt(std::string_view key) const;
  Result<double> GetFloat(std::string_view key) const;
  Result<bool> GetBool(std::string_view key) const;
  Result<std::string_view> GetString(std::string_view key) const;
  // The fallback stands in only for a missing key; a wrong type stays an error.
  Result<uint64_t> GetUintOr(std::string_view key, uint64_t fallback) const;
  Result<double> GetFloatOr(std::string_view key, double fallback) const;
  Result<bool> GetBoolOr(std::string_view key, bool fallback) const;
  Result<std::string_view> GetStringOr(std::string_view key, std::string_view fallback) const;

  Result<std::vector<std::string_view>> GetStrings(std::string_view key) const;
  Result<std::vector<int64_t>> GetInts(std::string_view key) const;  // array of any integer type
  Result<std::vector<float>> GetFloats(std::string_view key) const;  // array of float32 or float64
  Result<std::vector<bool>> GetBools(std::string_view key) const;

  // A short text for people: strings cut and quoted, arrays as "[49152 strings]". REQUIRES: Has(key).
  std::string Describe(std::string_view key) const;

  // --- tensors ---
  std::span<const GgufTensor> tensors() const;
  // Null if there is none of that name.
  const GgufTensor* FindTensor(std::string_view name) const;

 private:
  struct Rep;
  explicit GgufFile(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace lem
