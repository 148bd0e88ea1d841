// Reads little-endian values one after another from bytes that came from outside. Every read is checked against the
// bytes left and returns nullopt past the end, leaving the position as it was. Views returned point into the bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace lem {

static_assert(std::endian::native == std::endian::little, "values are copied as they lie in the file");

// The value that starts at `bytes`, which need not be aligned.
template <typename T>
T LoadLittleEndian(const std::byte* bytes) {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t bytes_left() const { return bytes_.size() - position_; }

  template <typename T>
  std::optional<T> Read() {
    if (bytes_left() < sizeof(T)) return std::nullopt;
    const T value = LoadLittleEndian<T>(bytes_.data() + position_);
    position_ += sizeof(T);
    return value;
  }

  std::optional<std::span<const std::byte>> ReadBytes(uint64_t size) {
    if (bytes_left() < size) return std::nullopt;
    const std::span<const std::byte> view = bytes_.subspan(position_, size);
    position_ += size;
    return view;
  }

  // A length of 64 bits and that many bytes: the string of GGUF.
  std::optional<std::string_view> ReadString() {
    const size_t start = position_;
    if (const std::optional<uint64_t> length = Read<uint64_t>()) {
      if (const auto view = ReadBytes(*length))
        return std::string_view(reinterpret_cast<const char*>(view->data()), view->size());
    }
    position_ = start;
    return std::nullopt;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;  // never past the end
};

}  // namespace lem
