#include "formats/gguf_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

#include "base/file.h"

namespace lem {
namespace {

using namespace std::string_view_literals;

TEST(GgufWriterTest, WritesTheBytesOfTheSpecification) {
  const std::array<float, 2> data = {1.0f, -2.0f};
  GgufWriter writer(16);
  writer.Add("a", uint8_t{7});
  writer.Add("s", "hi");
  writer.AddArray("v", std::vector<bool>{true, false});
  writer.AddTensor("t", DType::kF32, {2, 1}, std::as_bytes(std::span(data)));
  const std::string_view expected =
      "GGUF\3\0\0\0\1\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0"
      "\x11\0\0\0\0\0\0\0general.alignment\4\0\0\0\x10\0\0\0"
      "\1\0\0\0\0\0\0\0a\0\0\0\0\7"
      "\1\0\0\0\0\0\0\0s\x08\0\0\0\2\0\0\0\0\0\0\0hi"
      "\1\0\0\0\0\0\0\0v\x09\0\0\0\x07\0\0\0\2\0\0\0\0\0\0\0\1\0"
      "\1\0\0\0\0\0\0\0t\2\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"  // 2 dimensions, 2 x 1
      "\0\0\0\0\0\0\0\0\0\0\0\0"                                   // F32 at offset 0
      "\0\0\0\0\0\0\0\0\0\0\0\0\0\0"                               // from byte 162 to 176
      "\0\0\x80\x3f\0\0\0\xc0\0\0\0\0\0\0\0\0"sv;
  EXPECT_EQ(writer.ToString(), expected);
}

TEST(GgufWriterTest, FileHoldsTheSameBytes) {
  GgufWriter writer;
  writer.Add("general.name", "x");
  const auto path = std::filesystem::temp_directory_path() / fmt::format("lem-gguf-writer-{}.gguf", ::getpid());
  ASSERT_TRUE(writer.WriteFile(path).ok());
  EXPECT_EQ(*ReadFile(path), writer.ToString());
  EXPECT_EQ(GgufFile::Open(path)->GetString("general.name").value(), "x");
  std::filesystem::remove(path);
  EXPECT_EQ(writer.WriteFile(path / "below-a-file").code(), StatusCode::kPermissionDenied);
}

TEST(GgufWriterTest, ReportsAFullDisk) {
  GgufWriter writer;
  writer.Add("text", std::string(1 << 20, 'x'));
  const Status status = writer.WriteFile("/dev/full");
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.ToString();
}

TEST(GgufWriterTest, StopsAtTheSinksError) {
  GgufWriter writer;
  int calls = 0;
  EXPECT_EQ(writer.WriteTo([&](std::string_view) { return ++calls == 2 ? Aborted("stop") : OkStatus(); }).code(),
            StatusCode::kAborted);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace lem
