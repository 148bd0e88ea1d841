#include "memory/kv_residency.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

namespace lem {
namespace {

// A memory of its own that remembers what was copied.
class CopyingMemory : public DeviceMemory {
 public:
  bool shares_host_memory() const override { return false; }
  uint64_t free_bytes() const override { return 1 << 30; }
  Status Map(const std::byte*, size_t, size_t) override { return OkStatus(); }
  void Unmap(const std::byte*) override {}
  Status CopyIn(const std::byte* data, size_t bytes, TransferCause) override {
    shadow[data].assign(data, data + bytes);
    bytes_in += bytes;
    return OkStatus();
  }
  Status CopyOut(std::byte* data, size_t bytes, TransferCause) override {
    std::memcpy(data, shadow.at(data).data(), bytes);
    bytes_out += bytes;
    return OkStatus();
  }
  std::map<const std::byte*, std::vector<std::byte>> shadow;
  size_t bytes_in = 0, bytes_out = 0;
};

TEST(KvResidencyTest, CopiesWhatIsStaleAndNothingElse) {
  const auto memory = std::move(*MemoryManager::Create());
  const auto pool = std::move(*KvBlockPool::Create(*memory, 128, 4));  // two layers of 64 bytes
  CopyingMemory a, b;
  KvResidency kv(*pool, 2, 64, {nullptr, &a, &b});

  // Nothing is there yet: nothing to bring.
  ASSERT_TRUE(kv.Bring(1, 0, 1).ok());
  EXPECT_EQ(a.bytes_in, 0u);
  // The host writes layer 0 of block 1; device a reads it, once.
  std::byte* data = pool->base() + 128;
  std::memset(data, 5, 64);
  kv.MarkWritten(1, 0, 0);
  ASSERT_TRUE(kv.Bring(1, 0, 1).ok());
  ASSERT_TRUE(kv.Bring(1, 0, 1).ok());
  EXPECT_EQ(a.bytes_in, 64u);
  EXPECT_FALSE(kv.IsOnlyIn(1, 0, 0));
  // Device a writes: the host's copy is stale, and device b gets it by way of the host.
  a.shadow[data].assign(64, std::byte{9});
  kv.MarkWritten(1, 0, 1);
  EXPECT_TRUE(kv.IsOnlyIn(1, 0, 1));
  ASSERT_TRUE(kv.Bring(1, 0, 2).ok());
  EXPECT_EQ(data[63], std::byte{9});
  EXPECT_EQ(b.shadow.at(data)[0], std::byte{9});
  EXPECT_EQ(a.bytes_out, 64u);
  // The host has it by now; the other layer and other blocks were never touched.
  ASSERT_TRUE(kv.Bring(1, 0, 0).ok());
  ASSERT_TRUE(kv.Bring(1, 1, 2).ok());
  ASSERT_TRUE(kv.Bring(2, 0, 2).ok());
  EXPECT_EQ(a.bytes_out, 64u);
  EXPECT_EQ(b.bytes_in, 64u);
  // Handed out anew.
  kv.Forget(1);
  ASSERT_TRUE(kv.Bring(1, 0, 1).ok());
  EXPECT_EQ(a.bytes_in, 64u);
}

}  // namespace
}  // namespace lem
