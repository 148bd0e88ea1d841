#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string_view>

namespace lem {
namespace {

TEST(Sha256Test, KnownAnswers) {  // FIPS 180-4 examples
  EXPECT_EQ(Sha256().FinishHex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 hasher;
  const std::string_view text = "abc";
  hasher.Update(std::as_bytes(std::span(text.substr(0, 1))));
  hasher.Update(std::as_bytes(std::span(text.substr(1))));
  EXPECT_EQ(hasher.FinishHex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256Test, MissingFileIsNotFound) {
  EXPECT_EQ(Sha256HexOfFile("/nonexistent/file").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace lem
