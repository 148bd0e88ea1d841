#include "graph/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Op MakeOp(Part part, int32_t layer) { return {SoftcapOp{}, part, layer}; }

TEST(PlacementTest, FirstClauseThatCoversAnOpWins) {
  const Placement placement = *ParsePlacement(" layers 0-14 vulkan:0 ; ffn npu-emu;rest cpu");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kFeedForward, 14), Phase::kDecode), "vulkan:0");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kFeedForward, 15), Phase::kDecode), "npu-emu");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kAttention, 15), Phase::kPrefill), "cpu");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kEmbedding, kNone), Phase::kPrefill), "cpu");
  EXPECT_THAT(placement.DeviceIds(), ElementsAre("vulkan:0", "npu-emu", "cpu"));
}

TEST(PlacementTest, PhasesMayDiffer) {
  const Placement placement = *ParsePlacement("prefill vulkan:0; decode cpu");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kAttention, 1), Phase::kPrefill), "vulkan:0");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kAttention, 1), Phase::kDecode), "cpu");
  const Placement parts = *ParsePlacement("decode attention a; prefill layers 3 b; rest c");
  EXPECT_EQ(parts.DeviceOf(MakeOp(Part::kAttention, 3), Phase::kDecode), "a");
  EXPECT_EQ(parts.DeviceOf(MakeOp(Part::kAttention, 3), Phase::kPrefill), "b");
  EXPECT_EQ(parts.DeviceOf(MakeOp(Part::kHead, kNone), Phase::kPrefill), "c");
}

TEST(PlacementTest, WhatNoClauseCoversGoesToTheCpu) {
  const Placement placement = *ParsePlacement("ffn vulkan:0");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kAttention, 0), Phase::kPrefill), "cpu");
  EXPECT_THAT(placement.DeviceIds(), ElementsAre("vulkan:0", "cpu"));
  EXPECT_THAT(ParsePlacement("all vulkan:0")->DeviceIds(), ElementsAre("vulkan:0"));
  EXPECT_THAT(ParsePlacement("vulkan:0")->DeviceIds(), ElementsAre("vulkan:0"));
}

TEST(PlacementTest, RowsAndHeirs) {
  const Placement placement = *ParsePlacement("rows 0.25 vulkan:0; rest cpu");
  ASSERT_NE(placement.Rows(), nullptr);
  EXPECT_DOUBLE_EQ(placement.Rows()->rows_fraction, 0.25);
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kAttention, 0), Phase::kPrefill), "cpu");
  EXPECT_THAT(placement.Without("vulkan:0", "cpu").DeviceIds(), ElementsAre("cpu"));
}

TEST(PlacementTest, HandoverIsNoDevice) {
  const Placement placement = *ParsePlacement("all npu-emu; handover");
  EXPECT_TRUE(placement.handover);
  EXPECT_EQ(placement.clauses.size(), 1u);
  EXPECT_TRUE(placement.Without("npu-emu", "cpu").handover);
  EXPECT_FALSE(ParsePlacement("all npu-emu")->handover);
  EXPECT_FALSE(ParsePlacement("handover").ok()) << "it places nothing";
}

TEST(PlacementTest, APartOfSomeLayers) {
  const Placement placement = *ParsePlacement("layers 2-3 ffn a; decode layers 0-1 attention b; rest c");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kFeedForward, 2), Phase::kPrefill), "a");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kAttention, 2), Phase::kPrefill), "c");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kAttention, 1), Phase::kDecode), "b");
  EXPECT_EQ(placement.DeviceOf(MakeOp(Part::kFeedForward, 1), Phase::kDecode), "c");
  // A device may be called as a part is.
  EXPECT_EQ(ParsePlacement("layers 0-1 ffn")->clauses[0].device_id, "ffn");
}

TEST(PlacementTest, FormattedTextReadsBackEqual) {
  for (const char* text :
       {"all cpu", "prefill all a; all b", "layers 0-9 ffn cpu; rows 0.36 npu; all vulkan:0",
        "decode layers 3-3 a; prefill head b; embedding c; decode rows 0.5 d; all e", "all a; handover"}) {
    EXPECT_EQ(FormatPlacement(*ParsePlacement(text)), text);
  }
  EXPECT_EQ(FormatPlacement(*ParsePlacement(" rest  cpu ;ffn a")), "all cpu; ffn a");
}

TEST(PlacementTest, SaysWhatIsWrong) {
  const auto message = [](std::string_view text) {
    const auto placement = ParsePlacement(text);
    EXPECT_EQ(placement.status().code(), StatusCode::kInvalidArgument) << text;
    return placement.status().message();
  };
  EXPECT_THAT(message(""), HasSubstr("empty"));
  EXPECT_THAT(message(" ; ;"), HasSubstr("empty"));
  EXPECT_THAT(message("everything gpu"), HasSubstr("'everything' is no part"));
  EXPECT_THAT(message("layers 5-2 cpu"), HasSubstr("'5-2'"));
  EXPECT_THAT(message("layers -1-2 cpu"), HasSubstr("'-1-2'"));
  EXPECT_THAT(message("layers 0-99999999999 cpu"), HasSubstr("'0-99999999999'"));
  EXPECT_THAT(message("rows 1.5 cpu"), HasSubstr("'1.5'"));
  EXPECT_THAT(message("rows nan cpu"), HasSubstr("'nan'"));
  EXPECT_THAT(message("rows 0.5 a; rows 0.5 b"), HasSubstr("once"));
  EXPECT_THAT(message("all cpu gpu"), HasSubstr("too many words"));
  EXPECT_THAT(message("layers 0-3"), HasSubstr("no device"));
  EXPECT_THAT(message("all C\x01PU"), HasSubstr("is no device"));
}

}  // namespace
}  // namespace lem
