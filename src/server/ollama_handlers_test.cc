// Ollama's API over a socket: streams of lines, names of models, pulls from a store. Answers' details: api/ollama.
#include "server/ollama_handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/sha256.h"
#include "server/testing/api_server_fixture.h"

namespace lem {
namespace {

using http::Get;
using http::Post;
using http::RawClient;
using http::RawResponse;
using testing::HasSubstr;

std::vector<JsonValue> Lines(std::string_view body) {
  std::vector<JsonValue> lines;
  while (!body.empty()) {
    const size_t end = body.find('\n');
    EXPECT_NE(end, std::string_view::npos) << body;
    if (end == std::string_view::npos) break;
    lines.push_back(Parsed(body.substr(0, end)));
    body.remove_prefix(end + 1);
  }
  return lines;
}

class OllamaTest : public ApiServerTest {
 protected:
  static std::string Chat(std::string_view more = "") {
    return fmt::format(R"({{"model":"fake","messages":[{{"role":"user","content":"Hi"}}]{}{}}})",
                       more.empty() ? "" : ",", more);
  }
  std::string Error(std::string_view path, std::string_view body, int status) const {
    const JsonObject error = AskJson(path, body, status).as_object();
    EXPECT_EQ(error.size(), 1u);
    return Text(error.at("error"));
  }
};

TEST_F(OllamaTest, StreamsLinesUnlessToldOtherwise) {
  const RawResponse response = Ask("/api/chat", Chat());
  EXPECT_EQ(response.headers.Get("Content-Type"), "application/x-ndjson");
  const std::vector<JsonValue> lines = Lines(response.body);
  ASSERT_EQ(lines.size(), 6u);
  std::string text;
  for (const JsonValue& line : lines) {
    text += Text(line.at("message").at("content"));
    EXPECT_EQ(line.at("model"), "fake");
    EXPECT_EQ(line.at("done"), &line == &lines.back());
  }
  EXPECT_EQ(text, "Hello");
  EXPECT_EQ(lines.back().at("eval_count"), 5);
  EXPECT_EQ(AskJson("/api/generate", R"({"model":"fake:latest","prompt":"Hi","stream":false})").at("response"),
            "Hello");
  EXPECT_EQ(service_.requests().back().sampling.top_k, 40);
  // The same prompt, one as a chat.
  EXPECT_EQ(service_.requests().at(0).prompt, service_.requests().at(1).prompt);
}

TEST_F(OllamaTest, RawPromptsAreNotPutIntoATemplate) {
  AskJson("/api/generate", R"({"model":"fake","prompt":"AB","raw":true,"stream":false})");
  EXPECT_THAT(service_.requests().at(0).prompt, testing::ElementsAre(256, 'A', 'B'));
  EXPECT_THAT(Error("/api/generate", R"({"model":"fake","prompt":"A","suffix":"B"})", 400), HasSubstr("suffix"));
}

TEST_F(OllamaTest, LoadsAndRefuses) {
  EXPECT_EQ(AskJson("/api/chat", R"({"model":"fake"})").at("done_reason"), "load");
  EXPECT_EQ(AskJson("/api/generate", R"({"model":"fake","keep_alive":0})").at("done_reason"), "unload");
  EXPECT_EQ(Parsed(RawClient(port_).Request(Get("/api/ps")).body).at("models").as_array().size(), 0u);
  EXPECT_EQ(Parsed(RawClient(port_).Request(Get("/api/tags")).body).at("models").as_array().size(), 1u);
  Error("/api/generate", R"({"model":"nobody","keep_alive":0})", 404);
  service_.SetState(ModelState::kReady);
  EXPECT_EQ(service_.requests().size(), 0u);
  EXPECT_THAT(Error("/api/chat", R"({"model":"nobody","messages":[{"role":"user","content":"x"}]})", 404),
              HasSubstr("nobody"));
  EXPECT_THAT(Error("/api/chat", Chat(R"("think":true)"), 400), HasSubstr("does not support thinking"));
  EXPECT_THAT(Error("/api/chat", "{", 400), HasSubstr("JSON"));
  EXPECT_THAT(Error("/api/nothing", "{}", 404), HasSubstr("no such route"));
  EXPECT_THAT(Error("/api/create", R"({"model":"fake"})", 501), HasSubstr("gguf"));
  EXPECT_THAT(Error("/api/embed", R"({"model":"fake","input":[1]})", 400), HasSubstr("input[0]"));
  service_.SetScript({.tokens = {'a'}, .fail_after_tokens = Internal("broke")});
  EXPECT_EQ(Lines(Ask("/api/chat", Chat()).body).back().at("error"), "broke");
}

TEST_F(OllamaTest, CurlsWayOfPostingIsTakenFromNoWebPage) {
  const auto post = [&](std::string_view fields) {
    const std::string body = Chat();
    return RawClient(port_)
        .Request(fmt::format("POST /api/chat HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: {}\r\n\r\n{}", fields,
                             body.size(), body))
        .status;
  };
  EXPECT_EQ(post("Content-Type: application/x-www-form-urlencoded\r\n"), 200);
  EXPECT_EQ(post(""), 200);
  EXPECT_EQ(post("Content-Type: text/plain\r\n"), 415);
  EXPECT_EQ(post("Content-Type: application/x-www-form-urlencoded\r\nOrigin: http://localhost:3000\r\n"), 415);
}

TEST_F(OllamaTest, TellsOfModels) {
  const auto get = [&](std::string_view path) { return Parsed(RawClient(port_).Request(Get(path)).body); };
  EXPECT_EQ(get("/api/tags").at("models").at(0).at("name"), "fake:latest");
  EXPECT_EQ(get("/api/tags").at("models").at(0).at("digest").as_string().size(), 64u);
  EXPECT_EQ(get("/api/ps").at("models").at(0).at("context_length"), 512);
  EXPECT_TRUE(get("/api/version").at("version").is_string());
  EXPECT_EQ(AskJson("/api/show", R"({"model":"fake"})").at("details").at("format"), "gguf");
  EXPECT_EQ(AskJson("/api/show", R"({"name":"fake:latest"})").at("capabilities"), (JsonValue{"completion", "tools"}));
  Error("/api/show", R"({"model":"nobody"})", 404);
  EXPECT_THAT(Error("/api/pull", R"({"model":"x"})", 501), HasSubstr("store"));
}

// A store whose catalogue has one model, which is a file.
class OllamaStoreTest : public OllamaTest {
 protected:
  OllamaStoreTest() : folder_(testing::TempDir() + "/ollama_store") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    const std::string bytes = "GGUF, or not";
    std::ofstream(folder_ / "tiny.gguf") << bytes;
    Sha256 hasher;
    hasher.Update(std::as_bytes(std::span(bytes)));
    hash_ = hasher.FinishHex();
    std::ofstream(folder_ / "models.toml") << fmt::format(
        "[[model]]\nname = 'tiny:1'\nfile = 'tiny.gguf'\nsha256 = '{}'\nsize_bytes = {}\nlicense = 'none'\n"
        "[[model.source]]\ntype = 'path'\npath = '{}'\n",
        hash_, bytes.size(), (folder_ / "tiny.gguf").string());
    StoreOptions options;
    options.models_folder = folder_ / "models";
    options.catalogue_file = folder_ / "models.toml";
    auto store = ModelStore::Open(options);
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    if (store.ok()) store_ = *std::move(store);
    Serve(/*offline=*/false);
  }
  ~OllamaStoreTest() override { server_.reset(); }

  void Serve(bool offline) {
    ApiServerOptions options;
    options.store = store_.get();
    options.offline = offline;
    Restart(std::move(options));
  }

  const std::filesystem::path folder_;
  std::string hash_;
  std::unique_ptr<ModelStore> store_;
};

TEST_F(OllamaStoreTest, PullsShowsAndDeletes) {
  const std::vector<JsonValue> lines = Lines(Ask("/api/pull", R"({"model":"tiny:1"})").body);
  ASSERT_GE(lines.size(), 3u);
  EXPECT_EQ(lines.front().at("status"), "pulling manifest");
  EXPECT_EQ(lines.back().at("status"), "success") << Ask("/api/pull", R"({"model":"tiny:1"})").body;
  EXPECT_EQ(AskJson("/api/pull", R"({"model":"tiny:1","stream":false})").at("status"), "success");
  const JsonValue models = Parsed(RawClient(port_).Request(Get("/api/tags")).body).at("models");
  ASSERT_EQ(models.as_array().size(), 2u);
  EXPECT_EQ(models.at(1).at("name"), "tiny:1");
  EXPECT_EQ(models.at(1).at("digest"), JsonValue(hash_));
  EXPECT_EQ(AskJson("/api/show", R"({"model":"tiny:1"})").at("capabilities"), (JsonValue{"completion"}));
  std::string remove = Post("/api/delete", R"({"model":"tiny:1"})");
  remove.replace(0, 4, "DELETE");
  EXPECT_EQ(RawClient(port_).Request(remove).status, 200);
  EXPECT_EQ(RawClient(port_).Request(remove).status, 404);
}

TEST_F(OllamaStoreTest, PullsNothingThatIsNoName) {
  for (const char* name : {"../x", "/etc/passwd", "./x.gguf", "x.gguf", "a b", "a\\u0000"}) {
    EXPECT_THAT(Error("/api/pull", fmt::format(R"({{"model":"{}"}})", name), 400), HasSubstr("no name")) << name;
  }
  EXPECT_THAT(Text(Lines(Ask("/api/pull", R"({"model":"nobody"})").body).back().at("error")), HasSubstr("nobody"));
  EXPECT_EQ(Ask("/api/pull", R"({"model":"nobody","stream":false})").status, 404);
  Serve(/*offline=*/true);
  EXPECT_THAT(Error("/api/pull", R"({"model":"tiny:1"})", 403), HasSubstr("--offline"));
}

TEST_F(OllamaTest, Embeds) {
  const JsonValue answer = AskJson("/api/embed", R"({"model":"fake","input":["a","bb"],"dimensions":3})");
  ASSERT_EQ(answer.at("embeddings").as_array().size(), 2u);
  EXPECT_EQ(answer.at("embeddings").as_array()[0].as_array().size(), 3u);
  EXPECT_GT(answer.at("prompt_eval_count").as_int64(), 2);
  EXPECT_TRUE(AskJson("/api/embed", R"({"model":"fake","input":""})").at("embeddings").as_array().empty());
  EXPECT_EQ(AskJson("/api/embeddings", R"({"model":"fake","prompt":"a"})").at("embedding").as_array().size(), 4u);
  const std::string longer = fmt::format(R"({{"model":"fake","input":"{}")", std::string(600, 'x'));
  EXPECT_EQ(AskJson("/api/embed", longer + "}").at("prompt_eval_count").as_int64(), 512);
  Error("/api/embed", longer + R"(,"truncate":false})", 400);
}

}  // namespace
}  // namespace lem
