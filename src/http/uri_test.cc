#include "http/uri.h"

#include <gtest/gtest.h>

namespace lem::http {
namespace {

TEST(UriTest, Placeholder) { EXPECT_TRUE(IsToken("a")); }

}  // namespace
}  // namespace lem::http
