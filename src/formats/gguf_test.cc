#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

namespace lem {
namespace {

TEST(GgufModelTest, OpensRealFiles) {
  const char* folder = std::getenv("LEM_TEST_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "LEM_TEST_MODELS is not set to a folder with models";
  for (const char* name : {"smollm2-135m.gguf", "gemma3-270m.gguf", "qwen2.5-coder-0.5b.gguf"}) {
    const auto start = std::chrono::steady_clock::now();
    const auto file = GgufFile::Open(std::filesystem::path(folder) / name);
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    fmt::print("{} {} ms\n", name, elapsed.count());
    for (auto key : file->keys()) fmt::print("  {} = {}\n", key, file->Describe(key));
    EXPECT_EQ(file->GetStrings("tokenizer.ggml.tokens")->size(), file->GetInts("tokenizer.ggml.token_type")->size());
  }
}

}  // namespace
}  // namespace lem
