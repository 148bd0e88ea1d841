#include <gtest/gtest.h>
#include <unistd.h>

#include "formats/gguf_writer.h"
#include "models/model.h"
#include "models/testing/tiny_model.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

class LoaderTest : public testing::Test {
 protected:
  void TearDown() override { fs::remove(path_); }
  const fs::path path_ = fs::temp_directory_path() / fmt::format("lem-loader-test-{}.gguf", ::getpid());
};

TEST_F(LoaderTest, LoadsEveryArchitecture) {
  for (const char* architecture : {"llama", "qwen2", "gemma3"}) {
    ASSERT_TRUE(WriteTinyModel(path_, {.architecture = architecture}).ok());
    const auto model = LoadModel(path_);
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    EXPECT_EQ((*model)->config.architecture, architecture);
    EXPECT_EQ((*model)->graph.vocab_size, kTinyVocabSize);
    EXPECT_EQ((*model)->bound_weights.size(), (*model)->graph.weights.size());
    EXPECT_EQ((*model)->quantization, "Q8_0");
    EXPECT_TRUE((*model)->config.tied_embeddings);
    EXPECT_TRUE((*model)->chat_template->is_fallback());
    EXPECT_EQ((*model)->config.has_attention_bias, std::string(architecture) == "qwen2");
  }
}

// What is kept for a file's weights must not outlive its content.
TEST_F(LoaderTest, WeightsNameTheirFilesContent) {
  ASSERT_TRUE(WriteTinyModel(path_, {}).ok());
  const auto source = [&] {
    const auto model = LoadModel(path_);
    return (*model)->weights.desc((*model)->bound_weights[0]).source;
  };
  const std::string first = source();
  EXPECT_FALSE(first.empty());
  EXPECT_EQ(source(), first);
  fs::last_write_time(path_, fs::last_write_time(path_) + std::chrono::seconds(1));
  EXPECT_NE(source(), first);
}

// Writes a file of metadata alone and returns why it cannot be loaded.
std::string RefusalOf(const fs::path& path, const std::function<void(GgufWriter&)>& fill) {
  GgufWriter writer;
  fill(writer);
  EXPECT_TRUE(writer.WriteFile(path).ok());
  const auto model = LoadModel(path);
  EXPECT_FALSE(model.ok());
  return std::string(model.status().message());
}

TEST_F(LoaderTest, RefusalsNameTheKeyAndTheValue) {
  EXPECT_NE(
      RefusalOf(path_, [](GgufWriter& w) { w.Add("general.architecture", std::string("mamba")); }).find("'mamba'"),
      std::string::npos);
  const auto llama = [](GgufWriter& w) {
    w.Add("general.architecture", std::string("llama"));
    w.Add("llama.context_length", uint32_t{512});
    w.Add("llama.embedding_length", uint32_t{64});
    w.Add("llama.feed_forward_length", uint32_t{64});
  };
  EXPECT_NE(RefusalOf(path_, llama).find("llama.block_count"), std::string::npos);
  EXPECT_NE(RefusalOf(path_, [&](GgufWriter& w) { llama(w), w.Add("llama.block_count", uint32_t{0}); })
                .find("llama.block_count is 0; allowed: 1 to"),
            std::string::npos);
  EXPECT_NE(RefusalOf(path_, [&](GgufWriter& w) { llama(w), w.Add("llama.block_count", std::string("two")); })
                .find("llama.block_count"),
            std::string::npos);
  const auto heads = [&](GgufWriter& w, uint32_t num_heads, uint32_t num_kv_heads) {
    llama(w);
    w.Add("llama.block_count", uint32_t{1});
    w.Add("llama.attention.head_count", num_heads);
    w.Add("llama.attention.head_count_kv", num_kv_heads);
  };
  EXPECT_NE(RefusalOf(path_, [&](GgufWriter& w) { heads(w, 4, 3); }).find("head_count_kv, which is 3"),
            std::string::npos);
  EXPECT_NE(RefusalOf(path_, [&](GgufWriter& w) { heads(w, 64, 64); }).find("at least 2"), std::string::npos);
  EXPECT_NE(RefusalOf(path_, [&](GgufWriter& w) { heads(w, 4, 2); }).find("token_embd.weight"), std::string::npos);
  EXPECT_NE(RefusalOf(path_,
                      [&](GgufWriter& w) {
                        heads(w, 4, 2);
                        w.Add("llama.rope.scaling.type", std::string("yarn"));
                      })
                .find("'yarn'"),
            std::string::npos);
}

}  // namespace
}  // namespace lem
