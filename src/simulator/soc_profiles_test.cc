#include "simulator/soc_profiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "simulator/model_shapes.h"

namespace lem {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kHeader =
    "soc,device,kind,fp16_tflops,int8_tops,effective_gemm_tflops,bandwidth_gbs,soc_bandwidth_gbs,memory,launch_us,"
    "power_w,power_source,basis\n";

Result<std::vector<MachineProfile>> Parse(std::string_view rows) {
  return ParseSocProfiles(std::string(kHeader) + std::string(rows), "t.csv");
}

TEST(SocProfilesTest, TheTableIsThere) {
  EXPECT_EQ(KnownSocs().size(), 8U);
  const MachineProfile& strix = **FindSoc("strix_point_hx370");
  ASSERT_EQ(strix.devices.size(), 3U);
  EXPECT_EQ(strix.dram_gbs, 120);
  EXPECT_EQ(strix.devices[2].launch_us, 660);
  EXPECT_EQ(strix.devices[2].power.source, PowerSource::kRail);
  EXPECT_TRUE(strix.devices[2].guesses.empty());
  EXPECT_FALSE(strix.devices[2].row_buckets.empty());
  const MachineProfile& desktop = **FindSoc("desktop_4090");
  EXPECT_NE(desktop.devices[0].space, kHostSpace);
  EXPECT_NEAR(desktop.CopyMs(desktop.devices[0].space, kHostSpace, 25e9), 1000, 1);
  EXPECT_THAT(FindSoc("strix_point").status().message(), HasSubstr("did you mean strix_point_hx370?"));
  EXPECT_THAT(FindSoc("x").status().message(), HasSubstr("desktop_7900xtx"));
}

TEST(SocProfilesTest, EmptyCellsAreFilledByTheFilesRulesAndMarked) {
  const MachineProfile& krackan = **FindSoc("krackan_350");
  const DeviceProfile& gpu = krackan.devices[1];
  EXPECT_THAT(gpu.guesses, Contains("effective_gemm_tflops"));
  EXPECT_NEAR(gpu.GemmTflops("", 1e6), 0.15 * 11.9, 0.02);
  const MachineProfile& lunar = **FindSoc("lunar_lake_258v");
  EXPECT_NEAR(lunar.devices[1].bandwidth_gbs, 0.7 * 136.5, 1e-9);
  EXPECT_NEAR(lunar.devices[2].GemmTflops("", 1e6), 0.2 * 24, 1e-9);
  EXPECT_THAT(lunar.devices[0].guesses, ElementsAre("effective_gemm_tflops", "bandwidth_gbs", "launch_us", "power_w"));
  EXPECT_GT(lunar.devices[0].log_error, lunar.devices[0].Guessed("x") ? 1 : 0.3);
  // Watts of a card or of another source are no guess for a chip's rail.
  const DeviceProfile& hawk = (*FindSoc("hawk_point_8845hs"))->devices[1];
  EXPECT_EQ(hawk.power.source, PowerSource::kRail);
  EXPECT_GT(hawk.power.busy_w, 10);
  EXPECT_LT(hawk.power.busy_w, 20);
}

TEST(SocProfilesTest, SaysWhatIsWrong) {
  const auto message = [](std::string_view rows) { return Parse(rows).status().message(); };
  EXPECT_TRUE(Parse("s,d,gpu,1,,1,10,20,shared,,5,rail,x\n").ok());
  EXPECT_THAT(message("s,d,tpu,1,,1,10,20,shared,,5,rail,x\n"), HasSubstr("line 2: kind of device 'd' is 'tpu'"));
  EXPECT_THAT(message("S!,d,gpu,1,,1,10,20,shared,,5,rail,x\n"), HasSubstr("names of a-z"));
  EXPECT_THAT(message("s,d,gpu,x,,1,10,20,shared,,5,rail,x\n"), HasSubstr("fp16_tflops is 'x'"));
  EXPECT_THAT(message("s,d,gpu,1e300,,1,10,20,shared,,5,rail,x\n"), HasSubstr("fp16_tflops"));
  EXPECT_THAT(message("s,d,gpu,1,,1,10,20,moon,,5,rail,x\n"), HasSubstr("memory is 'moon'"));
  EXPECT_THAT(message("s,d,gpu,1,,1,10,20,shared,,5,wall,x\n"), HasSubstr("'wall'"));
  EXPECT_THAT(message("s,d,gpu,,,,10,20,shared,,5,rail,x\n"), HasSubstr("effective_gemm_tflops"));
  EXPECT_THAT(message("s,d,gpu,1,,1,,,shared,,5,rail,x\n"), HasSubstr("bandwidth_gbs"));
  const std::string row = "s,d,gpu,1,,1,10,20,shared,,5,rail,x\n";
  EXPECT_THAT(message(row + row), HasSubstr("twice"));
}

TEST(ModelShapesTest, SizesAreThePublishedOnes) {
  const std::pair<std::string_view, double> kBillions[] = {
      {"Llama-2-7B", 6.74}, {"llama-3.1-8b", 8.03}, {"Llama-3.2-1B", 1.24}, {"llama-3.2-3b", 3.21},
      {"Qwen3-4B", 4.02},   {"qwen3-8b", 8.19},     {"gpt-oss-20b", 20.9}};
  for (const auto& [name, billions] : kBillions) {
    EXPECT_NEAR((*FindModelShape(name))->num_parameters() * 1e-9, billions, 0.01 * billions) << name;
  }
  // Files of Llama 3.1 8B have 4.92 GB in Q4_K_M and 4.66 GB in Q4_0; gpt-oss-20b has 12.1 GB.
  const auto bytes = [](std::string_view model, std::string_view quant) {
    return WorkOfShape(**FindModelShape(model), **FindQuant(quant)).weight_memory_bytes();
  };
  EXPECT_NEAR(bytes("llama-3.1-8b", "Q4_K_M"), 4.92e9, 0.03 * 4.92e9);
  EXPECT_NEAR(bytes("llama-3.1-8b", "q4_0"), 4.66e9, 0.03 * 4.66e9);
  EXPECT_NEAR(bytes("gpt-oss-20b", "MXFP4"), 12.1e9, 0.03 * 12.1e9);
  EXPECT_THAT(FindModelShape("llama-4").status().message(), HasSubstr("known: llama-2-7b"));
  EXPECT_THAT(FindQuant("q4k").status().message(), HasSubstr("q4_k_m"));
}

}  // namespace
}  // namespace lem
