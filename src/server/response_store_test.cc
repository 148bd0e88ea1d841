// What clients may ask for again: bounds, whom it belongs to, and what happens to responses in the background.
#include "server/response_store.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/json.h"

namespace lem {
namespace {

openai::ResponseFrame Frame(std::string id) { return {std::move(id), 1, "m", ""}; }
std::string Status(const std::string& body) { return std::string(ParseJson(body)->at("status").as_string()); }

TEST(ResponseStoreTest, KeepsConversations) {
  ResponseStore store;
  store.Put("t", "a", "body a", {}, R"(["1"])", R"(["2"])");
  auto earlier = store.FindConversation("t", "a");
  ASSERT_TRUE(earlier);
  store.Put("t", "b", "body b", *std::move(earlier), R"(["3"])", R"(["4"])");
  EXPECT_TRUE(store.Remove("t", "a"));
  EXPECT_FALSE(store.Find("t", "a"));
  const auto found = store.Find("t", "b");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->body, "body b");
  ASSERT_EQ(found->conversation.size(), 2u);  // the turn of `a` lives on
  EXPECT_EQ(found->conversation[0]->output, R"(["2"])");
  EXPECT_EQ(found->conversation[1]->input, R"(["3"])");
  EXPECT_EQ(store.FindConversation("t", "a").error().code, "previous_response_not_found");
}

TEST(ResponseStoreTest, NobodyElseFindsAResponse) {
  ResponseStore store;
  store.Put("t", "a", "body", {}, "[]", "[]");
  ASSERT_TRUE(store.Begin("t", Frame("b"), {}, "[]").ok());
  for (const std::string id : {"a", "b"}) {
    EXPECT_FALSE(store.Find("other", id));
    EXPECT_FALSE(store.FindConversation("other", id));
    EXPECT_FALSE(store.Remove("other", id));
    EXPECT_EQ(*store.Cancel("other", id), std::nullopt);
    EXPECT_TRUE(store.Find("t", id));
  }
}

TEST(ResponseStoreTest, TheOldestOfWhoeverHasTheMostGo) {
  ResponseStore store({.max_responses = 4});
  store.Put("small", "s", "body", {}, "[]", "[]");
  for (const std::string id : {"a", "b", "c", "d", "e"}) store.Put("big", id, "body", {}, "[]", "[]");
  EXPECT_EQ(store.num_responses(), 4u);
  EXPECT_TRUE(store.Find("small", "s"));
  EXPECT_FALSE(store.Find("big", "a"));
  EXPECT_FALSE(store.Find("big", "b"));
  EXPECT_TRUE(store.Find("big", "e"));
}

TEST(ResponseStoreTest, BytesAreBounded) {
  ResponseStore store({.max_bytes = 100'000});
  const std::string items(20'000, ' ');
  for (int i = 0; i < 20; ++i) {
    store.Put("t", fmt::format("r{}", i), "body", {}, items, "[]");
    EXPECT_LE(store.num_bytes(), 100'000u);
  }
  EXPECT_EQ(store.num_responses(), 4u);
  store.Put("t", "huge", std::string(200'000, ' '), {}, "[]", "[]");
  EXPECT_EQ(store.num_responses(), 0u);
  EXPECT_EQ(store.num_bytes(), 0u);
}

TEST(ResponseStoreTest, TurnsCountAsLongAsAnyoneHasThem) {
  Conversation kept;
  {
    ResponseStore store;
    store.Put("t", "a", "body", {}, std::string(1000, ' '), "[]");
    kept = *store.FindConversation("t", "a");
    EXPECT_TRUE(store.Remove("t", "a"));
    EXPECT_GT(store.num_bytes(), 1000u);
  }
  EXPECT_EQ(kept[0]->input.size(), 1000u);  // and outlive the store
}

TEST(ResponseStoreTest, ConversationsHaveALongestLength) {
  ResponseStore store({.max_turns = 2});
  store.Put("t", "a", "body", {}, "[]", "[]");
  store.Put("t", "b", "body", *store.FindConversation("t", "a"), "[]", "[]");
  EXPECT_EQ(store.FindConversation("t", "b").error().code, "too_many_turns");
}

TEST(ResponseStoreTest, BackgroundRunsToItsEnd) {
  ResponseStore store;
  ASSERT_TRUE(store.Begin("t", Frame("a"), {}, R"(["in"])").ok());
  EXPECT_EQ(Status(store.Find("t", "a")->body), "in_progress");
  EXPECT_EQ(store.Find("t", "a")->conversation.back()->input, R"(["in"])");
  EXPECT_EQ(store.FindConversation("t", "a").error().code, "previous_response_not_over");
  store.Complete("t", "a", R"({"status":"completed"})", R"(["out"])");
  store.Fail("t", "a", {});  // what ends later changes nothing
  EXPECT_EQ(Status(store.Find("t", "a")->body), "completed");
  EXPECT_EQ(Status(**store.Cancel("t", "a")), "completed");
  EXPECT_EQ(store.FindConversation("t", "a")->back()->output, R"(["out"])");
}

TEST(ResponseStoreTest, BackgroundFails) {
  ResponseStore store;
  ASSERT_TRUE(store.Begin("t", Frame("a"), {}, "[]").ok());
  store.Fail("t", "a", {"server_error", "broke", "", "", ""});
  const JsonValue body = *ParseJson(store.Find("t", "a")->body);
  EXPECT_EQ(body.at("status"), "failed");
  EXPECT_EQ(body.at("error").at("message"), "broke");
}

TEST(ResponseStoreTest, CancelsOnce) {
  ResponseStore store;
  ASSERT_TRUE(store.Begin("t", Frame("a"), {}, "[]").ok());
  int num_cancelled = 0;
  store.SetCancel("t", "a", [&] { ++num_cancelled; });
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Status(**store.Cancel("t", "a")), "cancelled");
  EXPECT_EQ(num_cancelled, 1);
  store.Complete("t", "a", R"({"status":"completed"})", "[]");  // too late
  EXPECT_EQ(Status(store.Find("t", "a")->body), "cancelled");
  // Whoever begins after that is told at once.
  store.SetCancel("t", "a", [&] { ++num_cancelled; });
  EXPECT_EQ(num_cancelled, 2);
  store.Put("t", "b", "body", {}, "[]", "[]");
  EXPECT_EQ(store.Cancel("t", "b").error().code, "not_in_background");
}

TEST(ResponseStoreTest, DeletingCancels) {
  ResponseStore store;
  ASSERT_TRUE(store.Begin("t", Frame("a"), {}, "[]").ok());
  int num_cancelled = 0;
  store.SetCancel("t", "a", [&] { ++num_cancelled; });
  EXPECT_TRUE(store.Remove("t", "a"));
  EXPECT_EQ(num_cancelled, 1);
  store.Complete("t", "a", "{}", "[]");
  EXPECT_EQ(store.num_responses(), 0u);
}

TEST(ResponseStoreTest, WhatRunsIsNotDropped) {
  ResponseStore store({.max_responses = 2});
  ASSERT_TRUE(store.Begin("t", Frame("a"), {}, "[]").ok());
  ASSERT_TRUE(store.Begin("t", Frame("b"), {}, "[]").ok());
  EXPECT_EQ(store.Begin("t", Frame("c"), {}, "[]").code(), StatusCode::kResourceExhausted);
  store.Put("t", "d", "body", {}, "[]", "[]");  // has no room
  EXPECT_FALSE(store.Find("t", "d"));
  EXPECT_TRUE(store.Find("t", "a"));
}

TEST(ResponseStoreTest, TakesManyThreads) {
  ResponseStore store({.max_responses = 16, .max_bytes = 50'000});
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&store, t] {
      const std::string tenant = fmt::format("t{}", t % 2);
      for (int i = 0; i < 200; ++i) {
        const std::string id = fmt::format("r{}-{}", t, i);
        const std::string previous = fmt::format("r{}-{}", t, i - 1);
        if (i % 3 == 0 && store.Begin(tenant, Frame(id), {}, "[]").ok()) {
          store.SetCancel(tenant, id, [] {});
          if (i % 2 == 0) (void)store.Cancel(tenant, id);
          store.Complete(tenant, id, "{}", "[]");
        } else {
          auto earlier = store.FindConversation(tenant, previous);
          store.Put(tenant, id, "{}", earlier ? *std::move(earlier) : Conversation(), "[]", "[]");
        }
        (void)store.Find(tenant, previous);
        if (i % 5 == 0) store.Remove(tenant, previous);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(store.num_responses(), 16u);
}

}  // namespace
}  // namespace lem
