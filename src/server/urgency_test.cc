#include "server/urgency.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

http::Request With(std::initializer_list<std::pair<std::string, std::string>> headers) {
  http::Request request;
  for (const auto& [name, value] : headers) request.headers.Add(name, value);
  return request;
}

TEST(UrgencyTest, ReadsHeaders) {
  const auto plain = ReadUrgency(With({}));
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->priority, Priority::kInteractive);
  EXPECT_EQ(plain->tenant, "");
  const auto batch = ReadUrgency(With({{"x-lem-priority", "batch"},
                                       {"x-llm-d-slo-ttft-ms", "250"},
                                       {"x-llm-d-slo-tpot-ms", "12.5"},
                                       {"Authorization", "Bearer one"}}));
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->priority, Priority::kBatch);
  EXPECT_EQ(batch->ttft_target_ms, 250);
  EXPECT_EQ(batch->tpot_target_ms, 12.5);
  const auto other = ReadUrgency(With({{"x-api-key", "two"}}));
  EXPECT_NE(batch->tenant, other->tenant);
  EXPECT_EQ(batch->tenant.find("one"), std::string::npos);
}

TEST(UrgencyTest, NamesWhatIsWrong) {
  for (const auto& [name, value] : {std::pair{"x-lem-priority", "urgent"},
                                    {"x-llm-d-slo-ttft-ms", "soon"},
                                    {"x-llm-d-slo-ttft-ms", "0"},
                                    {"x-llm-d-slo-tpot-ms", "-1"},
                                    {"x-llm-d-slo-tpot-ms", "nan"},
                                    {"x-llm-d-slo-tpot-ms", "5ms"}}) {
    const auto urgency = ReadUrgency(With({{name, value}}));
    ASSERT_FALSE(urgency.has_value()) << name << " " << value;
    EXPECT_NE(urgency.error().status.message().find(value), std::string::npos);
    EXPECT_EQ(urgency.error().param, name);
  }
}

}  // namespace
}  // namespace lem
