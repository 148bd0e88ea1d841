// Files cut short and files with flipped bits: each must be a clean error, or (flips only) a file that can be read.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "base/file.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"

namespace lem {
namespace {

// Every value type, tensors that fill the file to its last byte.
std::string SmallFile() {
  static const std::string data(544, 'd');
  const auto bytes = std::as_bytes(std::span(data));
  GgufWriter writer;
  writer.Add("general.architecture", "llama");
  writer.Add("f", 1.5f);
  writer.Add("b", true);
  writer.Add("n", uint64_t{3});
  writer.AddArray("tokenizer.ggml.tokens", std::vector<std::string>{"<s>", "a", "b"});
  writer.AddArray("tokenizer.ggml.scores", std::vector<float>{0, 1, 2});
  writer.AddArray("bools", std::vector<bool>{true, false});
  writer.AddTensor("token_embd.weight", DType::kF32, {8, 3}, bytes.first(96));
  writer.AddTensor("output_norm.weight", DType::kF32, {8}, bytes.first(32));
  writer.AddTensor("q", DType::kQ8_0, {32, 16}, bytes.first(544));
  return writer.ToString();
}

// Uses every part of an accepted file.
void ReadEverything(const GgufFile& file) {
  for (const std::string_view key : file.keys()) {
    EXPECT_FALSE(file.Describe(key).empty());
    (void)file.GetUint(key);
    (void)file.GetStrings(key);
    (void)file.GetInts(key);
    (void)file.GetFloats(key);
    (void)file.GetBools(key);
  }
  unsigned sum = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    sum += std::to_integer<unsigned>(tensor.bytes.front()) + std::to_integer<unsigned>(tensor.bytes.back());
  }
  volatile unsigned keep = sum;
  (void)keep;
}

TEST(GgufTruncationTest, SmallFileAtEveryByte) {
  const std::string whole = SmallFile();
  ASSERT_TRUE(GgufFile::Parse(std::as_bytes(std::span(whole)), "whole").ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    // A copy of its own, so that a sanitizer sees a read past the end.
    const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto file = GgufFile::Parse(std::as_bytes(std::span(cut)), "cut");
    ASSERT_FALSE(file.ok()) << "cut to " << size << " bytes";
    EXPECT_EQ(file.status().code(), size < 4 ? StatusCode::kInvalidArgument : StatusCode::kDataLoss)
        << file.status().ToString();
  }
}

TEST(GgufTruncationTest, FlippedBitsNeverBreakTheReader) {
  const std::string whole = SmallFile();
  int num_refused = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<char> flipped(whole.begin(), whole.end());
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      const auto file = GgufFile::Parse(std::as_bytes(std::span(flipped)), "flipped");
      if (file.ok()) {
        ReadEverything(*file);
      } else {
        ++num_refused;
      }
    }
  }
  EXPECT_GT(num_refused, 1000);
}

class GgufModelTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("LEM_TEST_MODELS");
    if (folder == nullptr) GTEST_SKIP() << "LEM_TEST_MODELS is not set to a folder with models";
    auto map = MappedFile::Open(std::filesystem::path(folder) / GetParam());
    if (!map.ok()) GTEST_SKIP() << map.status().ToString();
    map_ = std::move(*map);
  }
  MappedFile map_;
};

TEST_P(GgufModelTest, TruncatedAnywhereIsAnError) {
  const auto bytes = map_.bytes();
  const auto whole = GgufFile::Parse(bytes, "whole");
  ASSERT_TRUE(whole.ok()) << whole.status().ToString();
  ReadEverything(*whole);
  uint64_t header_size = bytes.size();
  for (const GgufTensor& tensor : whole->tensors()) header_size = std::min(header_size, tensor.file_offset);

  const auto expect_error = [&](uint64_t size) {
    ASSERT_FALSE(GgufFile::Parse(bytes.first(size), "cut").ok()) << "cut to " << size << " bytes";
  };
  // Cutting at every byte of a header of megabytes takes minutes; LEM_TEST_EVERY_BYTE does it. Else: the beginning,
  // the end (tensor infos) and a stride that is prime to every element size.
  const uint64_t stride = std::getenv("LEM_TEST_EVERY_BYTE") != nullptr ? 1 : 9973;
  for (uint64_t size = 0; size < header_size; ++size) {
    if (size > 1024 && size + 256 < header_size && size % stride != 0) continue;
    expect_error(size);
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) expect_error(random() % bytes.size());
}

INSTANTIATE_TEST_SUITE_P(RealFiles, GgufModelTest,
                         testing::Values("smollm2-135m.gguf", "gemma3-270m.gguf", "qwen2.5-coder-0.5b.gguf"),
                         [](const auto& model) { return fmt::format("Model{}", model.index); });

}  // namespace
}  // namespace lem
