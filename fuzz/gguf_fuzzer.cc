// Any bytes are either refused or a file of which every getter and every tensor byte range can be used.
#include <cstdlib>

#include "formats/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = lem::GgufFile::Parse({reinterpret_cast<const std::byte*>(data), size}, "fuzz.gguf");
  if (!file.ok()) {
    if (file.status().message().empty()) std::abort();
    return 0;
  }
  for (const std::string_view key : file->keys()) {
    if (!file->Has(key) || !file->TypeOf(key) || file->Describe(key).empty()) std::abort();
    (void)file->GetUint(key);
    (void)file->GetInt(key);
    (void)file->GetFloat(key);
    (void)file->GetBool(key);
    (void)file->GetString(key);
    (void)file->GetStrings(key);
    (void)file->GetInts(key);
    (void)file->GetFloats(key);
    (void)file->GetBools(key);
  }
  const std::byte* const end = file->file_bytes().data() + file->file_bytes().size();
  for (const lem::GgufTensor& tensor : file->tensors()) {
    if (file->FindTensor(tensor.name) != &tensor || tensor.bytes.empty() || tensor.num_elements() == 0) std::abort();
    if (tensor.bytes.data() < file->file_bytes().data() || tensor.bytes.data() + tensor.bytes.size() > end)
      std::abort();
    [[maybe_unused]] volatile std::byte touched = tensor.bytes.front();
    touched = tensor.bytes.back();
  }
  return 0;
}
