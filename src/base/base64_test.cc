#include "base/base64.h"

#include <gtest/gtest.h>

#include <string_view>

namespace lem {
namespace {

// The vectors of RFC 4648, section 10.
TEST(Base64Test, EncodesAsTheStandardSays) {
  const auto encode = [](std::string_view text) { return EncodeBase64(std::as_bytes(std::span(text))); };
  EXPECT_EQ(encode(""), "");
  EXPECT_EQ(encode("f"), "Zg==");
  EXPECT_EQ(encode("fo"), "Zm8=");
  EXPECT_EQ(encode("foo"), "Zm9v");
  EXPECT_EQ(encode("foob"), "Zm9vYg==");
  EXPECT_EQ(encode("fooba"), "Zm9vYmE=");
  EXPECT_EQ(encode("foobar"), "Zm9vYmFy");
  EXPECT_EQ(encode("\xff\xfe\xfd"), "//79");
}

}  // namespace
}  // namespace lem
