#include "base/log.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

TEST(LogTest, EscapesWhatCouldForgeALine) {
  EXPECT_EQ(EscapeForTerminal("a\r\nb\x1b[2J\tc"), "a\\x0d\\x0ab\\x1b[2J\tc");
  EXPECT_EQ(EscapeForTerminal("x\xe2\x80\xaey\xe2\x81\xa6z"), "x\\u202ey\\u2066z");
  EXPECT_EQ(EscapeForTerminal("a\xc2\x9b"
                              "2J"),
            "a\\u009b2J");
  EXPECT_EQ(EscapeForTerminal("gr\xc3\xbc\xc3\x9f \xe2\x82\xac"), "gr\xc3\xbc\xc3\x9f \xe2\x82\xac");
}

TEST(LogTest, LevelsFilter) {
  SetLogLevel(LogLevel::kWarning);
  EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
  EXPECT_TRUE(LogEnabled(LogLevel::kError));
  SetLogLevel(LogLevel::kInfo);
}

}  // namespace
}  // namespace lem
