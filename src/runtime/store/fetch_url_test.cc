// Pulls over HTTP from the program's own server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>

#include "base/file.h"
#include "base/sha256.h"
#include "http/server.h"
#include "http/testing_socket.h"
#include "runtime/store/model_store.h"

namespace lem {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string HashOf(std::string_view text) {
  Sha256 hash;
  hash.Update(std::as_bytes(std::span(text.data(), text.size())));
  return hash.FinishHex();
}

class FetchUrlTest : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("no_proxy", "127.0.0.1", 1);
    dir_ = fs::temp_directory_path() / fmt::format("lem-fetch-url-test-{}", ::getpid());
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    for (uint32_t state = 7; content_.size() < 400'000; state = state * 1664525u + 1013904223u) {
      content_ += static_cast<char>(state >> 24);
    }
    AnswerWith({.bytes = content_});
    http::Router router;
    router.Add("GET", "/{path*}",
               [this](const http::Request& request, const http::Responder& responder) { Serve(request, responder); });
    server_.emplace(std::move(router));
    ::setenv("HF_ENDPOINT", fmt::format("http://127.0.0.1:{}", server_->port()).c_str(), 1);
    options_.models_folder = dir_ / "models";
    options_.catalogue_file = dir_ / "models.toml";
    const std::string url = fmt::format("http://127.0.0.1:{}/some/model.gguf", server_->port());
    const std::string facts = fmt::format("size_bytes = {}\nsha256 = '{}'", content_.size(), HashOf(content_));
    ASSERT_TRUE(WriteFileAtomic(options_.catalogue_file,
                                fmt::format("[[model]]\nname = 'direct'\nfile = 'direct.gguf'\n{}\n"
                                            "[[model.source]]\ntype = 'url'\nurl = '{}'\n"
                                            "[[model]]\nname = 'hub'\nfile = 'hub.gguf'\n{}\n"
                                            "[[model.source]]\ntype = 'huggingface'\nrepo = 'owner/name'\n"
                                            "revision = 'main'\nfile = 'a folder/m+1.gguf'\n",
                                            facts, url, facts))
                    .ok());
    auto store = ModelStore::Open(options_);
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(*store);
  }
  void TearDown() override {
    ::unsetenv("HF_ENDPOINT");
    ::unsetenv("HF_TOKEN");
    server_.reset();
    fs::remove_all(dir_);
  }

  // How the server answers.
  struct Answer {
    int status = 200;
    std::string bytes;
    size_t cut_after = std::string::npos;  // the connection breaks after so many
    bool slow = false;                     // sent piece by piece, with pauses
  };
  // Of requests from now on; one under way stays as it was asked.
  void AnswerWith(Answer answer) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }

  void Serve(const http::Request& request, const http::Responder& responder) {
    const Answer answer = [&] {
      const std::lock_guard lock(mutex_);
      seen_.push_back(
          fmt::format("{} {} {}", request.path, request.headers.Get("Range"), request.headers.Get("Authorization")));
      return answer_;
    }();
    if (answer.status != 200) return responder.Send(http::Response::Text(answer.status, "no"));
    uint64_t first = 0;
    const std::string range(request.headers.Get("Range"));
    if (!range.empty() && request.headers.Get("If-Range") == "\"v1\"") {
      std::from_chars(range.data() + 6, range.data() + range.size(), first);
    }
    http::Headers headers = {{"ETag", "\"v1\""}};
    const size_t total = answer.bytes.size();
    if (first > 0) headers.Add("Content-Range", fmt::format("bytes {}-{}/{}", first, total - 1, total));
    auto stream = responder.StartStream(first > 0 ? 206 : 200, headers);
    const std::string body = answer.bytes.substr(first, answer.cut_after);
    for (size_t at = 0; at < body.size(); at += 10'000) {
      if (!stream->Write(body.substr(at, 10'000))) return;
      if (answer.slow) std::this_thread::sleep_for(50ms);
    }
    if (answer.cut_after == std::string::npos) return stream->Finish();
    // Without Finish the connection is cut, and with it what has not been sent yet.
    while (stream->buffered_bytes() > 0) std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(300ms);  // for the client to read it
  }

  Result<PullResult> Pull(const std::string& name, const CancelToken& cancel = {}) {
    return store_->Pull(name, observer_, cancel);
  }
  std::vector<std::string> Seen() {
    const std::lock_guard lock(mutex_);
    return std::exchange(seen_, {});
  }

  fs::path dir_;
  std::string content_;
  std::mutex mutex_;  // guards what the server's threads share with the test: the next two
  Answer answer_;
  std::vector<std::string> seen_;  // "path range authorization" of each request
  StoreOptions options_;
  PullObserver observer_;
  std::optional<http::TestServer> server_;
  std::unique_ptr<ModelStore> store_;
};

TEST_F(FetchUrlTest, GoesOnWhereTheConnectionBroke) {
  AnswerWith({.bytes = content_, .cut_after = 150'000});
  const Status status = Pull("direct").status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status.ToString();
  EXPECT_TRUE(store_->List()->empty());
  EXPECT_THAT(Seen(), ElementsAre("/some/model.gguf  "));
  AnswerWith({.bytes = content_});
  uint64_t first_bytes = UINT64_MAX;
  observer_.on_progress = [&](const PullProgress& progress) {
    if (progress.phase == PullProgress::Phase::kDownloading && progress.done_bytes > 0) {
      first_bytes = std::min(first_bytes, progress.done_bytes);
    }
  };
  const Result<PullResult> pulled = Pull("direct");
  ASSERT_TRUE(pulled.ok()) << pulled.status().ToString();
  EXPECT_THAT(Seen(), ElementsAre("/some/model.gguf bytes=150000- "));
  EXPECT_GE(first_bytes, 150'000u);
  EXPECT_EQ(*ReadFile(store_->PathOf(pulled->model)), content_);
  EXPECT_TRUE(fs::is_empty(options_.models_folder / ".partial"));
}

TEST_F(FetchUrlTest, FetchesAnewWhatDoesNotFit) {
  // The first bytes come from another file under the same tag: only the hash can tell.
  std::string other = content_;
  other.replace(0, 5, "XXXXX");
  AnswerWith({.bytes = other, .cut_after = 150'000});
  ASSERT_FALSE(Pull("direct").ok());
  AnswerWith({.bytes = content_});
  Seen();
  ASSERT_TRUE(Pull("direct").ok());
  EXPECT_THAT(Seen(), ElementsAre("/some/model.gguf bytes=150000- ", "/some/model.gguf  "));
  // A file that is wrong from the start is asked for once.
  ASSERT_TRUE(store_->Remove("direct").ok());
  AnswerWith({.bytes = other});
  const Status status = Pull("direct").status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(HashOf(other)), HasSubstr(HashOf(content_))));
  EXPECT_THAT(Seen(), testing::SizeIs(1));
  EXPECT_TRUE(fs::is_empty(options_.models_folder / ".partial"));
}

TEST_F(FetchUrlTest, RefusesOtherSizes) {
  AnswerWith({.bytes = content_.substr(1)});
  EXPECT_THAT(Pull("direct").status().message(), HasSubstr("it gave 399999 bytes; the model has 400000"));
  AnswerWith({.bytes = content_ + "x"});
  EXPECT_FALSE(Pull("direct").ok());
  EXPECT_TRUE(store_->List()->empty());
  AnswerWith({.bytes = content_});
  const Status status = Pull("direct").status();
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_F(FetchUrlTest, SaysWhatTheServerSaid) {
  AnswerWith({.status = 404});
  const Status status = Pull("direct").status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("cannot pull direct from http://127.0.0.1"), HasSubstr("404")));
  EXPECT_TRUE(fs::is_empty(options_.models_folder / ".partial"));
}

TEST_F(FetchUrlTest, AsksHuggingFaceWithTheUsersToken) {
  ASSERT_TRUE(Pull("hub").ok());
  EXPECT_THAT(Seen(), ElementsAre("/owner/name/resolve/main/a%20folder/m%2B1.gguf  "));
  ASSERT_TRUE(store_->Remove("hub").ok());
  ::setenv("HF_TOKEN", "secret", 1);
  const Result<PullResult> pulled = Pull("hub");
  ASSERT_TRUE(pulled.ok());
  EXPECT_EQ(pulled->model.source, "huggingface owner/name/a folder/m+1.gguf");
  EXPECT_THAT(Seen(), ElementsAre("/owner/name/resolve/main/a%20folder/m%2B1.gguf  Bearer secret"));
}

TEST_F(FetchUrlTest, StopsWhenCancelled) {
  AnswerWith({.bytes = content_, .slow = true});
  CancelToken cancel;
  observer_.on_progress = [&](const PullProgress& progress) {
    if (progress.done_bytes >= 50'000) cancel.Cancel();
  };
  const auto begin = Clock::now();
  EXPECT_EQ(Pull("direct", cancel).status().code(), StatusCode::kCancelled);
  EXPECT_LT(Clock::now() - begin, 3s);
  AnswerWith({.bytes = content_});
  observer_.on_progress = {};
  EXPECT_TRUE(Pull("direct").ok());
  EXPECT_THAT(Seen(), ElementsAre("/some/model.gguf  ", HasSubstr("/some/model.gguf bytes=")));
}

}  // namespace
}  // namespace lem
