#include "formats/gguf_writer.h"

#include <algorithm>
#include <fstream>

#include "base/check.h"
#include "base/checked_math.h"

namespace lem {
namespace {

// REQUIRES: value + alignment does not wrap, which no file in memory can do.
uint64_t AlignUp(uint64_t value, uint64_t alignment) { return CheckedAlignUp(value, alignment).value(); }

Status WritePadding(uint64_t size, const GgufWriter::Sink& sink) {
  constexpr std::string_view kZeros("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
  while (size > 0) {
    const std::string_view piece = kZeros.substr(0, size);
    LEM_TRY(sink(piece));
    size -= piece.size();
  }
  return OkStatus();
}

}  // namespace

GgufWriter::GgufWriter(uint32_t alignment) : alignment_(alignment) {
  LEM_CHECK(IsPowerOfTwo(alignment)) << alignment;
  if (alignment != 32) Add("general.alignment", alignment);
}

void GgufWriter::AppendString(std::string_view text, std::string& out) {
  AppendNumber(static_cast<uint64_t>(text.size()), out);
  out += text;
}

void GgufWriter::AddEncoded(std::string_view key, GgufType type, std::string_view value) {
  AppendString(key, entries_);
  AppendNumber(static_cast<uint32_t>(type), entries_);
  entries_ += value;
  ++num_keys_;
}

void GgufWriter::AddTensor(std::string_view name, DType dtype, const std::vector<uint64_t>& dims,
                           std::span<const std::byte> bytes) {
  std::optional<uint64_t> size = RowBytes(dtype, dims.empty() ? 1 : dims[0]);
  for (size_t i = 1; i < dims.size() && size; ++i) size = CheckedMul(*size, dims[i]);
  LEM_CHECK(size == bytes.size()) << name << " has " << bytes.size() << " bytes";

  AppendString(name, tensor_infos_);
  AppendNumber(static_cast<uint32_t>(dims.size()), tensor_infos_);
  for (const uint64_t dim : dims) AppendNumber(dim, tensor_infos_);
  AppendNumber(static_cast<uint32_t>(dtype), tensor_infos_);
  AppendNumber(data_size_, tensor_infos_);
  data_size_ = AlignUp(data_size_ + bytes.size(), alignment_);
  tensor_bytes_.push_back(bytes);
}

Status GgufWriter::WriteTo(const Sink& sink) const {
  std::string header = "GGUF";
  AppendNumber(uint32_t{3}, header);
  AppendNumber(static_cast<uint64_t>(tensor_bytes_.size()), header);
  AppendNumber(num_keys_, header);
  LEM_TRY(sink(header));
  LEM_TRY(sink(entries_));
  LEM_TRY(sink(tensor_infos_));
  const uint64_t header_size = header.size() + entries_.size() + tensor_infos_.size();
  LEM_TRY(WritePadding(AlignUp(header_size, alignment_) - header_size, sink));
  for (const std::span<const std::byte> bytes : tensor_bytes_) {
    LEM_TRY(sink({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
    LEM_TRY(WritePadding(AlignUp(bytes.size(), alignment_) - bytes.size(), sink));
  }
  return OkStatus();
}

std::string GgufWriter::ToString() const {
  std::string out;
  const Status status = WriteTo([&](std::string_view piece) {
    out += piece;
    return OkStatus();
  });
  LEM_CHECK(status.ok()) << status.ToString();
  return out;
}

Status GgufWriter::WriteFile(const std::filesystem::path& path) const {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (!out) return PermissionDenied("cannot create {}: check that its folder exists and may be written", path.string());
  const auto write_error = [&] { return ResourceExhausted("cannot write {}: is the disk full?", path.string()); };
  LEM_TRY(WriteTo([&](std::string_view piece) {
    return out.write(piece.data(), static_cast<std::streamsize>(piece.size())) ? OkStatus() : write_error();
  }));
  out.close();
  return out ? OkStatus() : write_error();
}

}  // namespace lem
