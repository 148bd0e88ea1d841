#include "formats/gguf.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>

#include "formats/gguf_writer.h"

namespace lem {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// Encodes a file field by field, right or wrong; independent of GgufWriter.
class RawGguf {
 public:
  explicit RawGguf(uint64_t num_tensors, uint64_t num_keys, uint32_t version = 3) {
    out_ = "GGUF";
    Put(version).Put(num_tensors).Put(num_keys);
  }
  template <typename T>
  RawGguf& Put(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  RawGguf& Text(std::string_view text) {
    Put(uint64_t{text.size()});
    out_ += text;
    return *this;
  }
  RawGguf& Key(std::string_view key, GgufType type) { return Text(key).Put(static_cast<uint32_t>(type)); }
  RawGguf& Array(GgufType type, uint64_t count) { return Put(static_cast<uint32_t>(type)).Put(count); }
  RawGguf& Tensor(std::string_view name, const std::vector<uint64_t>& dims, DType dtype, uint64_t offset) {
    Text(name).Put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) Put(dim);
    return Put(static_cast<uint32_t>(dtype)).Put(offset);
  }
  // Pads to the start of the tensor data and appends that many bytes of it.
  RawGguf& Data(size_t size, size_t alignment = 32) {
    out_.resize((out_.size() + alignment - 1) / alignment * alignment + size, '\0');
    return *this;
  }
  const std::string& bytes() const { return out_; }
  Result<GgufFile> Parse() const { return GgufFile::Parse(Bytes(out_), "x.gguf"); }

 private:
  std::string out_;
};

// The message must hold each of `parts`, so that a person can see what is wrong.
void ExpectError(const RawGguf& file, StatusCode code, const std::vector<std::string>& parts) {
  const auto result = file.Parse();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), code) << result.status().ToString();
  EXPECT_NE(result.status().message().find("x.gguf"), std::string::npos) << result.status().message();
  for (const std::string& part : parts) {
    EXPECT_NE(result.status().message().find(part), std::string::npos)
        << result.status().message() << "\nlacks " << part;
  }
}

// --- round trips ---

TEST(GgufTest, ReadsBackEveryNumberType) {
  GgufWriter writer;
  writer.Add("u8", uint8_t{255});
  writer.Add("i8", int8_t{-128});
  writer.Add("u16", uint16_t{65535});
  writer.Add("i16", int16_t{-32768});
  writer.Add("u32", std::numeric_limits<uint32_t>::max());
  writer.Add("i32", std::numeric_limits<int32_t>::min());
  writer.Add("u64", std::numeric_limits<uint64_t>::max());
  writer.Add("i64", std::numeric_limits<int64_t>::min());
  writer.Add("f32", 0.1f);
  writer.Add("f64", 0.1);
  writer.Add("yes", true);
  writer.Add("no", false);
  const std::string bytes = writer.ToString();
  const auto file = GgufFile::Parse(Bytes(bytes), "x.gguf");
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->alignment(), 32u);
  EXPECT_EQ(file->keys(), (std::vector<std::string_view>{"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32",
                                                         "f64", "yes", "no"}));
  EXPECT_EQ(*file->GetUint("u8"), 255u);
  EXPECT_EQ(*file->GetInt("u8"), 255);
  EXPECT_EQ(*file->GetInt("i8"), -128);
  EXPECT_EQ(*file->GetUint("u16"), 65535u);
  EXPECT_EQ(*file->GetInt("i16"), -32768);
  EXPECT_EQ(*file->GetUint("u32"), 4294967295u);
  EXPECT_EQ(*file->GetInt("u32"), 4294967295);
  EXPECT_EQ(*file->GetInt("i32"), -2147483648LL);
  EXPECT_EQ(*file->GetUint("u64"), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(*file->GetInt("i64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(*file->GetFloat("f32"), 0.1f);
  EXPECT_EQ(*file->GetFloat("f64"), 0.1);
  EXPECT_TRUE(*file->GetBool("yes"));
  EXPECT_FALSE(*file->GetBool("no"));
  EXPECT_EQ(file->TypeOf("i16"), GgufType::kInt16);
  EXPECT_EQ(file->TypeOf("none"), std::nullopt);
  EXPECT_TRUE(file->Has("f32"));
  EXPECT_FALSE(file->Has("f3"));
  EXPECT_EQ(file->Describe("i8"), "-128");
  EXPECT_EQ(file->Describe("u64"), "18446744073709551615");
  EXPECT_EQ(file->Describe("f32"), "0.1");
  EXPECT_EQ(file->Describe("f64"), "0.1");
  EXPECT_EQ(file->Describe("no"), "false");
}

TEST(GgufTest, ReadsBackStringsAndArrays) {
  GgufWriter writer;
  writer.Add("text", std::string("a\0\xff", 3));
  writer.Add("empty", "");
  writer.AddArray("strings", std::vector<std::string>{"one", "", "\xe2\x96\x81three"});
  writer.AddArray("none", std::vector<std::string>{});
  writer.AddArray("u8", std::vector<uint8_t>{0, 255});
  writer.AddArray("i8", std::vector<int8_t>{-1, 127});
  writer.AddArray("u16", std::vector<uint16_t>{65535});
  writer.AddArray("i16", std::vector<int16_t>{-2});
  writer.AddArray("u32", std::vector<uint32_t>{4294967295u});
  writer.AddArray("i32", std::vector<int32_t>{-3, 4});
  writer.AddArray("u64", std::vector<uint64_t>{1});
  writer.AddArray("i64", std::vector<int64_t>{std::numeric_limits<int64_t>::min()});
  writer.AddArray("f32", std::vector<float>{0.5f, -1.5f});
  writer.AddArray("f64", std::vector<double>{2.5});
  writer.AddArray("bools", std::vector<bool>{true, false, true});
  const std::string bytes = writer.ToString();
  const auto file = GgufFile::Parse(Bytes(bytes), "x.gguf");
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(*file->GetString("text"), std::string_view("a\0\xff", 3));
  EXPECT_EQ(*file->GetString("empty"), "");
  EXPECT_EQ(*file->GetStrings("strings"), (std::vector<std::string_view>{"one", "", "\xe2\x96\x81three"}));
  EXPECT_TRUE(file->GetStrings("none")->empty());
  EXPECT_EQ(*file->GetInts("u8"), (std::vector<int64_t>{0, 255}));
  EXPECT_EQ(*file->GetInts("i8"), (std::vector<int64_t>{-1, 127}));
  EXPECT_EQ(*file->GetInts("u16"), (std::vector<int64_t>{65535}));
  EXPECT_EQ(*file->GetInts("i16"), (std::vector<int64_t>{-2}));
  EXPECT_EQ(*file->GetInts("u32"), (std::vector<int64_t>{4294967295}));
  EXPECT_EQ(*file->GetInts("i32"), (std::vector<int64_t>{-3, 4}));
  EXPECT_EQ(*file->GetInts("u64"), (std::vector<int64_t>{1}));
  EXPECT_EQ(*file->GetInts("i64"), (std::vector<int64_t>{std::numeric_limits<int64_t>::min()}));
  EXPECT_EQ(*file->GetFloats("f32"), (std::vector<float>{0.5f, -1.5f}));
  EXPECT_EQ(*file->GetFloats("f64"), (std::vector<float>{2.5f}));
  EXPECT_EQ(*file->GetBools("bools"), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(file->Describe("strings"), "[3 strings]");
  EXPECT_EQ(file->Describe("f64"), "[1 float64]");
}

TEST(GgufTest, DescribeIsShortAndSafeToPrint) {
  GgufWriter writer;
  writer.Add("control", "a\x1b[31m\r\n");
  writer.Add("long", std::string(79, 'x') + "\xe2\x82\xac" + std::string(5000, 'y'));
  writer.Add("continuation", std::string(500, '\x80'));
  const std::string bytes = writer.ToString();
  const auto file = GgufFile::Parse(Bytes(bytes), "x.gguf");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->Describe("control"), R"('a\x1b[31m\x0d\x0a')");
  EXPECT_EQ(file->Describe("long"), "'" + std::string(79, 'x') + "...'");  // not inside the euro sign
  EXPECT_LT(file->Describe("continuation").size(), 400u);
}

TEST(GgufTest, ReadsBackTensors) {
  const std::string data(1000, 'd');
  for (const uint32_t alignment : {8u, 32u, 4096u, 65536u}) {
    GgufWriter writer(alignment);
    writer.AddTensor("matrix", DType::kQ4_0, {64, 3}, Bytes(data).first(2 * 18 * 3));
    writer.AddTensor("cube", DType::kF16, {3, 2, 2}, Bytes(data).first(24));
    writer.AddTensor("scalar", DType::kF32, {}, Bytes(data).first(4));
    writer.AddTensor("four", DType::kI8, {1, 2, 3, 4}, Bytes(data).first(24));
    const std::string bytes = writer.ToString();
    const auto file = GgufFile::Parse(Bytes(bytes), "x.gguf");
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_EQ(file->alignment(), alignment);
    ASSERT_EQ(file->tensors().size(), 4u);
    const GgufTensor* matrix = file->FindTensor("matrix");
    ASSERT_EQ(matrix, &file->tensors()[0]);
    EXPECT_EQ(matrix->dtype, DType::kQ4_0);
    EXPECT_EQ(matrix->dims, (std::vector<uint64_t>{64, 3}));
    EXPECT_EQ(matrix->num_elements(), 192u);
    EXPECT_EQ(matrix->bytes.size(), 108u);
    EXPECT_EQ(file->FindTensor("scalar")->num_elements(), 1u);
    EXPECT_EQ(file->FindTensor("four")->num_elements(), 24u);
    EXPECT_EQ(file->FindTensor("fou"), nullptr);
    for (const GgufTensor& tensor : file->tensors()) {
      EXPECT_EQ(tensor.file_offset % alignment, 0u);
      EXPECT_EQ(tensor.bytes.data(), Bytes(bytes).data() + tensor.file_offset);
      EXPECT_EQ(tensor.bytes.front(), std::byte{'d'});
      EXPECT_EQ(tensor.bytes.back(), std::byte{'d'});
    }
  }
}

TEST(GgufTest, AFileWithoutTensorsNeedsNoPadding) {
  RawGguf raw(0, 1);
  raw.Key("k", GgufType::kUint8).Put(uint8_t{1});
  const auto file = raw.Parse();
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_TRUE(file->tensors().empty());
  EXPECT_EQ(file->FindTensor("x"), nullptr);
  EXPECT_TRUE(RawGguf(0, 0).Parse().ok());
}

TEST(GgufTest, OpenMapsTheFileAndKeepsItMapped) {
  const std::string data(32, 'd');
  GgufWriter writer;
  writer.AddTensor("t", DType::kF32, {8}, Bytes(data));
  const auto path = std::filesystem::temp_directory_path() / fmt::format("lem-gguf-{}.gguf", ::getpid());
  ASSERT_TRUE(writer.WriteFile(path).ok());
  auto opened = GgufFile::Open(path);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  const GgufFile moved = std::move(*opened);
  std::filesystem::remove(path);
  EXPECT_EQ(moved.FindTensor("t")->bytes[31], std::byte{'d'});
  EXPECT_EQ(moved.file_bytes().size(), writer.ToString().size());
  EXPECT_EQ(GgufFile::Open(path).status().code(), StatusCode::kNotFound);
}

TEST(GgufTest, ReadsVersion2) {
  RawGguf raw(1, 1, 2);
  raw.Key("k", GgufType::kString).Text("v").Tensor("t", {4}, DType::kF32, 0).Data(16);
  const auto file = raw.Parse();
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->version(), 2u);
  EXPECT_EQ(*file->GetString("k"), "v");
}

TEST(GgufTest, AllowsGapsAndAnyOrderOfTensors) {
  RawGguf raw(2, 0);
  raw.Tensor("late", {4}, DType::kF32, 64).Tensor("early", {4}, DType::kF32, 0).Data(80);
  EXPECT_TRUE(raw.Parse().ok());
}

// --- getters ---

TEST(GgufTest, GettersNameTheKeyAndBothTypes) {
  GgufWriter writer;
  writer.Add("text", "1");
  writer.Add("u32", uint32_t{1});
  writer.Add("minus", int8_t{-1});
  writer.Add("huge", uint64_t{1} << 63);
  writer.Add("bool", true);
  writer.AddArray("floats", std::vector<float>{1});
  writer.AddArray("huge_array", std::vector<uint64_t>{0, uint64_t{1} << 63});
  const std::string bytes = writer.ToString();
  const auto file = GgufFile::Parse(Bytes(bytes), "x.gguf");
  ASSERT_TRUE(file.ok());
  const auto message = [](const auto& result) { return result.status().ToString(); };
  constexpr const char* kPrefix = "invalid_argument: x.gguf: metadata key ";
  EXPECT_EQ(message(file->GetUint("text")), std::string(kPrefix) + "'text' is of type string; expected: an integer");
  EXPECT_EQ(message(file->GetInt("bool")), std::string(kPrefix) + "'bool' is of type bool; expected: an integer");
  EXPECT_EQ(message(file->GetUint("minus")), std::string(kPrefix) + "'minus' is -1; allowed: 0 or more");
  EXPECT_EQ(message(file->GetInt("huge")),
            std::string(kPrefix) + "'huge' is 9223372036854775808; allowed: less than 2^63");
  EXPECT_EQ(message(file->GetFloat("u32")),
            std::string(kPrefix) + "'u32' is of type uint32; expected: float32 or float64");
  EXPECT_EQ(message(file->GetBool("u32")), std::string(kPrefix) + "'u32' is of type uint32; expected: bool");
  EXPECT_EQ(message(file->GetString("floats")),
            std::string(kPrefix) + "'floats' is of type array of float32; expected: string");
  EXPECT_EQ(message(file->GetStrings("floats")),
            std::string(kPrefix) + "'floats' is of type array of float32; expected: array of string");
  EXPECT_EQ(message(file->GetInts("floats")),
            std::string(kPrefix) + "'floats' is of type array of float32; expected: array of an integer type");
  EXPECT_EQ(message(file->GetFloats("text")),
            std::string(kPrefix) + "'text' is of type string; expected: array of float32 or float64");
  EXPECT_EQ(message(file->GetBools("floats")),
            std::string(kPrefix) + "'floats' is of type array of float32; expected: array of bool");
  EXPECT_EQ(message(file->GetInts("huge_array")),
            "invalid_argument: x.gguf: element 1 of metadata key 'huge_array' is 9223372036854775808; allowed: less "
            "than 2^63");
  EXPECT_EQ(message(file->GetStrings("none")), "not_found: x.gguf: metadata key 'none' is missing");
}

TEST(GgufTest, FallbackStandsInForAMissingKeyOnly) {
  GgufWriter writer;
  writer.Add("text", "t");
  writer.Add("n", int32_t{-1});
  const std::string bytes = writer.ToString();
  const auto file = GgufFile::Parse(Bytes(bytes), "x.gguf");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*file->GetUintOr("none", 5), 5u);
  EXPECT_EQ(*file->GetFloatOr("none", 0.5), 0.5);
  EXPECT_TRUE(*file->GetBoolOr("none", true));
  EXPECT_EQ(*file->GetStringOr("none", "f"), "f");
  EXPECT_EQ(*file->GetStringOr("text", "f"), "t");
  EXPECT_EQ(file->GetUintOr("text", 5).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->GetUintOr("n", 5).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->GetFloatOr("text", 5).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->GetBoolOr("text", true).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->GetStringOr("n", "f").status().code(), StatusCode::kInvalidArgument);
}

// --- bad files ---

TEST(GgufBadFileTest, NotGguf) {
  for (const std::string_view text : {"", "G", "GGU", "PK\3\4 and so on", "GGUE"}) {
    const auto result = GgufFile::Parse(Bytes(text), "x.gguf");
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(result.status().message().find("x.gguf is not a GGUF file"), std::string::npos);
  }
}

TEST(GgufBadFileTest, Versions) {
  ExpectError(RawGguf(0, 0, 1), StatusCode::kInvalidArgument, {"version 1", "versions 2 and 3"});
  ExpectError(RawGguf(0, 0, 4), StatusCode::kInvalidArgument, {"version 4"});
  ExpectError(RawGguf(0, 0, 0), StatusCode::kInvalidArgument, {"version 0"});
  ExpectError(RawGguf(0, 0, 0x03000000), StatusCode::kInvalidArgument, {"big-endian"});
}

// Numbers at which 32-bit and 64-bit arithmetic wraps.
std::vector<uint64_t> BoundaryNumbers() {
  std::vector<uint64_t> numbers;
  for (const uint64_t base : {uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 61, uint64_t{1} << 62,
                              uint64_t{1} << 63, uint64_t{0} - 32, uint64_t{0}}) {
    for (const uint64_t delta : {uint64_t{0} - 2, uint64_t{0} - 1, uint64_t{0}, uint64_t{1}, uint64_t{2}}) {
      if (const uint64_t number = base + delta; number > 2) numbers.push_back(number);
    }
  }
  for (const uint64_t align : {8, 16, 32, 64, 4096, 65536}) numbers.push_back(uint64_t{0} - align);
  return numbers;
}

TEST(GgufBadFileTest, CountsAreHeldAgainstTheBytesLeft) {
  for (const uint64_t count : BoundaryNumbers()) {
    SCOPED_TRACE(count);
    const std::string text = fmt::format("claims {} ", count);
    ExpectError(RawGguf(count, 0).Data(64), StatusCode::kDataLoss, {text + "tensors", "72 bytes are left"});
    ExpectError(RawGguf(0, count).Data(64), StatusCode::kDataLoss, {text + "metadata keys"});
    ExpectError(RawGguf(0, 1).Put(count).Data(64), StatusCode::kDataLoss, {"metadata key 1 of 1"});
    ExpectError(RawGguf(1, 0).Put(count).Data(64), StatusCode::kDataLoss, {"tensor 1 of 1"});
    ExpectError(RawGguf(0, 1).Key("k", GgufType::kString).Put(count).Data(64), StatusCode::kDataLoss, {"'k'"});
    for (uint32_t type = 0; type <= 12; ++type) {
      ExpectError(RawGguf(0, 1).Key("k", GgufType::kArray).Put(type).Put(count).Data(64), StatusCode::kDataLoss,
                  {"'k'", text + "array elements"});
    }
    // Inside an array of strings, and in an array inside an array.
    ExpectError(RawGguf(0, 1).Key("k", GgufType::kArray).Array(GgufType::kString, 1).Put(count).Data(64),
                StatusCode::kDataLoss, {"'k'"});
    ExpectError(
        RawGguf(0, 1).Key("k", GgufType::kArray).Array(GgufType::kArray, 1).Array(GgufType::kFloat64, count).Data(64),
        StatusCode::kDataLoss, {"'k'", text + "array elements"});
  }
}

TEST(GgufBadFileTest, CountsHaveLimits) {
  ExpectError(RawGguf(0, 65537).Data(65537 * 13), StatusCode::kDataLoss, {"65537 metadata keys", "at most 65536"});
  ExpectError(RawGguf(1048577, 0).Data(1048577 * 24), StatusCode::kDataLoss, {"1048577 tensors", "at most 1048576"});
  ExpectError(RawGguf(0, 1).Key("k", GgufType::kArray).Array(GgufType::kUint8, 16777217).Data(16777217),
              StatusCode::kDataLoss, {"'k'", "16777217 array elements", "at most 16777216"});
}

TEST(GgufBadFileTest, ValueTypes) {
  ExpectError(RawGguf(0, 1).Text("k").Put(uint32_t{13}).Data(64), StatusCode::kDataLoss, {"'k'", "value type 13"});
  ExpectError(RawGguf(0, 1).Key("k", GgufType::kArray).Put(uint32_t{0xffffffff}).Put(uint64_t{1}).Data(64),
              StatusCode::kDataLoss, {"'k'", "value type 4294967295"});
  ExpectError(RawGguf(0, 1).Key("k", GgufType::kBool).Put(uint8_t{2}), StatusCode::kDataLoss, {"'k'", "value 2"});
  ExpectError(RawGguf(0, 1).Key("k", GgufType::kArray).Array(GgufType::kBool, 2).Put(uint8_t{1}).Put(uint8_t{255}),
              StatusCode::kDataLoss, {"'k'", "value 255"});
}

TEST(GgufBadFileTest, NestedArrays) {
  const auto nested = [](int depth) {
    RawGguf raw(0, 1);
    raw.Key("k", GgufType::kArray);
    for (int i = 1; i < depth; ++i) raw.Array(GgufType::kArray, 1);
    raw.Array(GgufType::kInt8, 2).Put(int8_t{1}).Put(int8_t{2});
    return raw;
  };
  for (int depth = 1; depth <= 4; ++depth) {
    const RawGguf raw = nested(depth);
    const auto file = raw.Parse();
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_EQ(file->Describe("k"), depth == 1 ? "[2 int8]" : "[1 array]");
    EXPECT_EQ(file->GetInts("k").ok(), depth == 1);
  }
  ExpectError(nested(5), StatusCode::kDataLoss, {"'k'", "deeper than 4"});
  ExpectError(nested(100000), StatusCode::kDataLoss, {"'k'", "deeper than 4"});
}

TEST(GgufBadFileTest, Names) {
  ExpectError(RawGguf(0, 1).Key("", GgufType::kUint8).Put(uint8_t{1}), StatusCode::kDataLoss, {"0 bytes"});
  EXPECT_TRUE(RawGguf(0, 1).Key(std::string(65535, 'k'), GgufType::kUint8).Put(uint8_t{1}).Parse().ok());
  ExpectError(RawGguf(0, 1).Key(std::string(65536, 'k'), GgufType::kUint8).Put(uint8_t{1}), StatusCode::kDataLoss,
              {"65536 bytes", "1 to 65535"});
  ExpectError(RawGguf(1, 0).Tensor("", {4}, DType::kF32, 0).Data(16), StatusCode::kDataLoss, {"0 bytes"});
  EXPECT_TRUE(RawGguf(1, 0).Tensor(std::string(64, 't'), {4}, DType::kF32, 0).Data(16).Parse().ok());
  ExpectError(RawGguf(1, 0).Tensor(std::string(65, 't'), {4}, DType::kF32, 0).Data(16), StatusCode::kDataLoss,
              {"'ttt", "65 bytes", "1 to 64"});
  // A hostile name cannot write to the terminal through a message.
  ExpectError(RawGguf(0, 1).Key("\x1b]0;x\a", GgufType::kBool).Put(uint8_t{2}), StatusCode::kDataLoss,
              {R"('\x1b]0;x\x07')"});
}

TEST(GgufBadFileTest, Duplicates) {
  ExpectError(RawGguf(0, 3)
                  .Key("k", GgufType::kUint8)
                  .Put(uint8_t{1})
                  .Key("j", GgufType::kUint8)
                  .Put(uint8_t{1})
                  .Key("k", GgufType::kBool)
                  .Put(uint8_t{1}),
              StatusCode::kDataLoss, {"'k' occurs twice"});
  ExpectError(RawGguf(2, 0).Tensor("t", {8}, DType::kF32, 0).Tensor("t", {8}, DType::kF32, 32).Data(64),
              StatusCode::kDataLoss, {"'t' occurs twice"});
}

TEST(GgufBadFileTest, Alignment) {
  const auto with = [](uint32_t alignment) {
    RawGguf raw(1, 1);
    raw.Key("general.alignment", GgufType::kUint32).Put(alignment);
    return raw.Tensor("t", {4}, DType::kF32, 0).Data(16, 65536);
  };
  for (const uint32_t alignment : {8, 16, 32, 65536}) {
    const RawGguf raw = with(alignment);
    EXPECT_EQ(raw.Parse()->alignment(), alignment);
  }
  for (const uint32_t alignment : {0u, 1u, 4u, 7u, 24u, 33u, 131072u, 1u << 31, 0xffffffffu}) {
    ExpectError(with(alignment), StatusCode::kDataLoss,
                {"'general.alignment'", fmt::format(" is {};", alignment), "power of two from 8 to 65536"});
  }
  ExpectError(RawGguf(0, 1).Key("general.alignment", GgufType::kUint64).Put(uint64_t{32}), StatusCode::kInvalidArgument,
              {"'general.alignment'", "uint64", "uint32"});
  ExpectError(RawGguf(0, 1).Key("general.alignment", GgufType::kString).Text("32"), StatusCode::kInvalidArgument,
              {"'general.alignment'", "string", "uint32"});
}

TEST(GgufBadFileTest, Splits) {
  const auto with = [](uint16_t count) {
    RawGguf raw(0, 1);
    raw.Key("split.count", GgufType::kUint16).Put(count);
    return raw;
  };
  EXPECT_TRUE(with(0).Parse().ok());
  EXPECT_TRUE(with(1).Parse().ok());
  ExpectError(with(3), StatusCode::kUnimplemented, {"split in 3", "'split.count'"});
  ExpectError(RawGguf(0, 1).Key("split.count", GgufType::kString).Text("3"), StatusCode::kInvalidArgument,
              {"'split.count'", "string"});
}

TEST(GgufBadFileTest, TensorTypes) {
  ExpectError(RawGguf(1, 0).Tensor("t", {32}, static_cast<DType>(20), 0).Data(64), StatusCode::kUnimplemented,
              {"'t'", "type 20 (IQ4_NL)"});
  ExpectError(RawGguf(1, 0).Tensor("t", {32}, static_cast<DType>(4), 0).Data(64), StatusCode::kUnimplemented,
              {"'t'", "type 4 (unknown)"});
  ExpectError(RawGguf(1, 0).Tensor("t", {32}, static_cast<DType>(0xffffffff), 0).Data(64), StatusCode::kUnimplemented,
              {"'t'", "type 4294967295"});
}

TEST(GgufBadFileTest, Dimensions) {
  ExpectError(RawGguf(1, 0).Tensor("t", {1, 1, 1, 1, 1}, DType::kF32, 0).Data(64), StatusCode::kDataLoss,
              {"'t'", "5 dimensions", "0 to 4"});
  ExpectError(RawGguf(1, 0).Text("t").Put(uint32_t{0xffffffff}).Data(64), StatusCode::kDataLoss,
              {"'t'", "4294967295 dimensions"});
  ExpectError(RawGguf(1, 0).Tensor("t", {4, 0}, DType::kF32, 0).Data(64), StatusCode::kDataLoss,
              {"dimension 2 of tensor 't' is 0"});
  ExpectError(RawGguf(1, 0).Tensor("t", {33}, DType::kQ4_0, 0).Data(64), StatusCode::kDataLoss,
              {"'t'", "Q4_0", "33", "multiples of 32"});
  ExpectError(RawGguf(1, 0).Tensor("t", {}, DType::kQ4_0, 0).Data(64), StatusCode::kDataLoss, {"'t'", "1 elements"});
}

TEST(GgufBadFileTest, SizesThatWrap) {
  for (const uint64_t size : BoundaryNumbers()) {
    for (const DType dtype : {DType::kF32, DType::kI8, DType::kF64}) {
      for (const std::vector<uint64_t>& dims :
           {std::vector<uint64_t>{size}, std::vector<uint64_t>{1, size}, std::vector<uint64_t>{2, 1, 1, size},
            std::vector<uint64_t>{size, size}}) {
        SCOPED_TRACE(fmt::format("{}", fmt::join(dims, " x ")));
        ExpectError(RawGguf(1, 0).Tensor("t", dims, dtype, 0).Data(64), StatusCode::kDataLoss, {"'t'"});
      }
    }
    const uint64_t whole_blocks = size / 256 * 256;
    if (whole_blocks == 0) continue;
    for (const DType dtype : {DType::kQ4_0, DType::kQ2_K, DType::kQ6_K}) {
      ExpectError(RawGguf(1, 0).Tensor("t", {whole_blocks}, dtype, 0).Data(64), StatusCode::kDataLoss, {"'t'"});
      ExpectError(RawGguf(1, 0).Tensor("t", {256, size}, dtype, 0).Data(64), StatusCode::kDataLoss, {"'t'"});
    }
  }
  // Products that wrap to something small: 2^64 and 2^64 + 4 bytes, 2^64 elements.
  const uint64_t k2to32 = uint64_t{1} << 32;
  for (const std::vector<uint64_t>& dims :
       {std::vector<uint64_t>{k2to32, k2to32}, std::vector<uint64_t>{k2to32, 1, k2to32, 1},
        std::vector<uint64_t>{uint64_t{1} << 62, 1}, std::vector<uint64_t>{(uint64_t{1} << 62) + 1}}) {
    ExpectError(RawGguf(1, 0).Tensor("t", dims, DType::kF32, 0).Data(64), StatusCode::kDataLoss, {"2^64 bytes"});
  }
}

TEST(GgufBadFileTest, OffsetsOutsideTheFile) {
  for (const uint64_t offset : BoundaryNumbers()) {
    SCOPED_TRACE(offset);
    const uint64_t aligned = offset / 32 * 32;
    ExpectError(RawGguf(1, 0).Tensor("t", {8}, DType::kF32, aligned).Data(32), StatusCode::kDataLoss,
                {"'t'", "past the end"});
    if (offset != aligned) {
      ExpectError(RawGguf(1, 0).Tensor("t", {8}, DType::kF32, offset).Data(32), StatusCode::kDataLoss,
                  {"'t'", "multiples of the alignment, 32"});
    }
  }
  EXPECT_TRUE(RawGguf(1, 0).Tensor("t", {8}, DType::kF32, 32).Data(64).Parse().ok());
  ExpectError(RawGguf(1, 0).Tensor("t", {9}, DType::kF32, 32).Data(64), StatusCode::kDataLoss,
              {"'t'", "36 bytes at offset 32", "past the end"});
  ExpectError(RawGguf(1, 0).Tensor("t", {8}, DType::kF32, 0), StatusCode::kDataLoss, {"'t'", "past the end"});
  ExpectError(RawGguf(1, 0).Tensor("t", {8}, DType::kF32, 16).Data(64), StatusCode::kDataLoss, {"'t'", "offset 16"});
}

TEST(GgufBadFileTest, Overlaps) {
  ExpectError(RawGguf(2, 0).Tensor("a", {9}, DType::kF32, 0).Tensor("b", {8}, DType::kF32, 32).Data(64),
              StatusCode::kDataLoss, {"'a'", "'b'", "overlap"});
  ExpectError(RawGguf(2, 0).Tensor("a", {8}, DType::kF32, 0).Tensor("b", {8}, DType::kF32, 0).Data(64),
              StatusCode::kDataLoss, {"'a'", "'b'", "overlap"});
  ExpectError(RawGguf(3, 0)
                  .Tensor("whole", {32}, DType::kF32, 0)
                  .Tensor("x", {8}, DType::kF32, 128)
                  .Tensor("inner", {8}, DType::kF32, 64)
                  .Data(256),
              StatusCode::kDataLoss, {"'whole'", "'inner'", "overlap"});
}

}  // namespace
}  // namespace lem
