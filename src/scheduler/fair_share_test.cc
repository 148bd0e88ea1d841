#include "scheduler/fair_share.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

TEST(FairShareTest, WhoComesLaterBeginsLevelWithTheLeastServed) {
  FairShare shares;
  shares.Enter("a");
  shares.Serve("a", 100);
  shares.Enter("b");
  EXPECT_EQ(shares.ServiceOf("b"), 100);
  shares.Serve("b", 50);
  shares.Enter("c");
  EXPECT_EQ(shares.ServiceOf("c"), 100) << "a has least";
}

TEST(FairShareTest, WhoWasAwayHasNoCredit) {
  FairShare shares;
  shares.Enter("a");
  shares.Enter("a");
  shares.Serve("a", 1000);
  shares.Leave("a");
  EXPECT_EQ(shares.ServiceOf("a"), 1000) << "one of its requests is still there";
  shares.Leave("a");
  shares.Enter("b");
  EXPECT_EQ(shares.ServiceOf("b"), 1000);
  shares.Serve("b", 10);
  shares.Enter("a");
  EXPECT_EQ(shares.ServiceOf("a"), 1010);
}

}  // namespace
}  // namespace lem
