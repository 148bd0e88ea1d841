#include "formats/zip.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zip.h>

#include <cstring>
#include <limits>

#include "base/file.h"

namespace lem {
namespace {

struct Member {
  std::string name;
  std::string content;
  int method = ZIP_CM_DEFLATE;
};

// An archive made by libzip, which takes any name.
std::string MakeZip(const std::vector<Member>& members) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("lem-zip-test-{}.zip", ::getpid());
  std::filesystem::remove(path);
  zip_t* zip = zip_open(path.c_str(), ZIP_CREATE, nullptr);
  for (const Member& member : members) {
    zip_source_t* source = zip_source_buffer(zip, member.content.data(), member.content.size(), 0);
    const int64_t index = zip_file_add(zip, member.name.c_str(), source, 0);
    EXPECT_GE(index, 0) << zip_strerror(zip);
    zip_set_file_compression(zip, static_cast<uint64_t>(index), member.method, 0);
  }
  EXPECT_EQ(zip_close(zip), 0);
  std::string bytes = ReadFile(path).value();
  std::filesystem::remove(path);
  return bytes;
}

Result<ZipArchive> Parse(std::string_view bytes) { return ZipArchive::Parse(std::as_bytes(std::span(bytes)), "x.whl"); }

Result<std::string> Read(const ZipArchive& archive, std::string_view name, uint64_t max_bytes = 1 << 30) {
  const ZipEntry* entry = archive.Find(name);
  if (entry == nullptr) return NotFound("{}", name);
  std::string out;
  LEM_TRY(archive.ReadEntry(*entry, max_bytes, [&](std::span<const std::byte> piece) {
    out.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    EXPECT_LE(out.size(), max_bytes);
    return OkStatus();
  }));
  return out;
}

// Overwrites a number in the first local header and in its directory entry (offsets of APPNOTE.TXT 4.3.7 and 4.3.12).
template <typename T>
std::string Patch(std::string bytes, size_t local_offset, size_t directory_offset, T value) {
  std::memcpy(bytes.data() + bytes.find("PK\3\4") + local_offset, &value, sizeof(T));
  std::memcpy(bytes.data() + bytes.find("PK\1\2") + directory_offset, &value, sizeof(T));
  return bytes;
}
std::string PatchSize(const std::string& bytes, uint32_t size) { return Patch(bytes, 22, 24, size); }

std::string Noise(size_t size) {
  std::string text(size, '\0');
  uint32_t state = 1;
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

TEST(ZipTest, ListsAndReadsStoredAndDeflatedEntries) {
  const std::string large = Noise(1'000'000);
  const std::string bytes = MakeZip({{"pkg/__init__.py", "x = 1\n"},
                                     {"pkg/data/model.gguf", large, ZIP_CM_STORE},
                                     {"pkg/data/part-2", large},
                                     {"pkg/empty", ""},
                                     {"pkg/folder/", ""}});
  const auto archive = Parse(bytes);
  ASSERT_TRUE(archive.ok()) << archive.status().ToString();
  ASSERT_EQ(archive->entries().size(), 5u);
  EXPECT_EQ(archive->entries()[1].name, "pkg/data/model.gguf");
  EXPECT_EQ(archive->entries()[1].size_bytes, large.size());
  EXPECT_EQ(archive->entries()[1].compressed_bytes, large.size());
  EXPECT_EQ(archive->Find("pkg/data"), nullptr);
  EXPECT_EQ(Read(*archive, "pkg/__init__.py").value(), "x = 1\n");
  EXPECT_EQ(Read(*archive, "pkg/data/model.gguf").value(), large);
  EXPECT_EQ(Read(*archive, "pkg/data/part-2").value(), large);
  EXPECT_EQ(Read(*archive, "pkg/empty").value(), "");
  EXPECT_EQ(Read(*archive, "pkg/data/part-2").value(), large);  // a second time
}

TEST(ZipTest, OpensFilesAndStaysValidWhenMoved) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("lem-zip-open-{}.whl", ::getpid());
  ASSERT_TRUE(WriteFileAtomic(path, MakeZip({{"a", "hello"}})).ok());
  auto opened = ZipArchive::Open(path);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  const ZipArchive moved = std::move(*opened);
  std::filesystem::remove(path);
  EXPECT_EQ(Read(moved, "a").value(), "hello");
  EXPECT_EQ(ZipArchive::Open(path).status().code(), StatusCode::kNotFound);
}

TEST(ZipTest, SinkErrorEndsTheReading) {
  const std::string bytes = MakeZip({{"a", Noise(1'000'000)}});
  const auto archive = Parse(bytes);
  int calls = 0;
  const Status status = archive->ReadEntry(*archive->Find("a"), 1 << 30, [&](std::span<const std::byte>) {
    ++calls;
    return Cancelled("enough");
  });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
}

TEST(ZipTest, LimitIsExact) {
  const std::string bytes = MakeZip({{"a", std::string(1000, 'x')}});
  const auto archive = Parse(bytes);
  EXPECT_EQ(Read(*archive, "a", 1000)->size(), 1000u);
  const auto result = Read(*archive, "a", 999);
  EXPECT_EQ(result.status().ToString(), "resource_exhausted: entry 'a' of x.whl has 1000 bytes; allowed: at most 999");
}

TEST(ZipTest, ABombStopsAtTheSizeItClaims) {
  const std::string bomb = MakeZip({{"a", std::string(20'000'000, '\0')}});
  ASSERT_LT(bomb.size(), 50'000u);
  const auto honest = Parse(bomb);
  EXPECT_EQ(Read(*honest, "a", 1'000'000).status().code(), StatusCode::kResourceExhausted);

  const std::string lying_bytes = PatchSize(bomb, 1000);
  const auto lying = Parse(lying_bytes);
  ASSERT_TRUE(lying.ok()) << lying.status().ToString();
  const auto result = Read(*lying, "a", 1'000'000);
  EXPECT_EQ(result.status().code(), StatusCode::kDataLoss) << result.status().ToString();
}

TEST(ZipTest, DamageIsFoundBeforeOk) {
  const std::string good = MakeZip({{"a", Noise(100'000)}});
  const auto expect_data_loss = [](const std::string& bytes) {
    const auto archive = Parse(bytes);
    ASSERT_TRUE(archive.ok()) << archive.status().ToString();
    const auto result = Read(*archive, "a");
    EXPECT_EQ(result.status().code(), StatusCode::kDataLoss) << result.status().ToString();
    EXPECT_NE(result.status().message().find("'a' of x.whl"), std::string::npos) << result.status().message();
  };
  expect_data_loss(PatchSize(good, 100'001));
  expect_data_loss(PatchSize(good, 99'999));
  expect_data_loss(Patch(good, 14, 16, uint32_t{12345}));  // CRC
  std::string flipped = good;
  flipped[flipped.size() / 2] ^= 1;
  expect_data_loss(flipped);
}

TEST(ZipTest, OtherMethodsAreNamed) {
  const std::string good = MakeZip({{"a", "hello hello hello hello"}});
  const std::string bzip2 = Patch(good, 8, 10, uint16_t{12});
  const auto archive = Parse(bzip2);
  EXPECT_EQ(Read(*archive, "a").status().ToString(),
            "unimplemented: entry 'a' of x.whl is packed with method 12; supported: 0 (stored) and 8 (deflated)");
  const std::string encrypted_bytes = Patch(good, 6, 8, uint16_t{1});
  const auto encrypted = Parse(encrypted_bytes);
  EXPECT_EQ(Read(*encrypted, "a").status().code(), StatusCode::kUnimplemented);
}

TEST(ZipTest, NamesThatLeaveTheFolderAreRefused) {
  for (const char* name : {"/etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "a/./b", "a//b", "\\x", "a\\..\\x",
                           "C:/x", "//host/share", "/"}) {
    const auto archive = Parse(MakeZip({{"good", "1"}, {name, "2"}}));
    ASSERT_FALSE(archive.ok()) << name;
    EXPECT_EQ(archive.status().code(), StatusCode::kDataLoss) << archive.status().ToString();
    EXPECT_NE(archive.status().message().find(name), std::string::npos) << archive.status().ToString();
  }
  for (const char* name : {"..a", "a..", "a/...", "a/b..c/", ".hidden"}) {
    const std::string bytes = MakeZip({{name, "1"}});
    EXPECT_TRUE(Parse(bytes).ok()) << name;
  }
}

TEST(ZipTest, NamesThatOccurTwiceAreRefused) {
  std::string bytes = MakeZip({{"aa", "1"}, {"ab", "2"}});
  for (size_t at = bytes.find("ab"); at != std::string::npos; at = bytes.find("ab")) bytes[at + 1] = 'a';
  EXPECT_EQ(Parse(bytes).status().ToString(), "data_loss: entry 'aa' of x.whl occurs twice; allowed: once");
}

TEST(ZipTest, NotAZip) {
  for (const std::string& text : {std::string(), std::string("GGUF and so on"), Noise(100'000)}) {
    const auto archive = Parse(text);
    ASSERT_FALSE(archive.ok());
    EXPECT_EQ(archive.status().code(), StatusCode::kInvalidArgument) << archive.status().ToString();
    EXPECT_NE(archive.status().message().find("x.whl is not a zip archive"), std::string::npos);
  }
}

TEST(ZipTest, TruncatedAtEveryByteIsAnError) {
  const std::string whole = MakeZip({{"a", "hello"}, {"b", "world", ZIP_CM_STORE}});
  ASSERT_TRUE(Parse(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(Parse({cut.data(), cut.size()}).ok()) << "cut to " << size << " bytes";
  }
}

}  // namespace
}  // namespace lem
