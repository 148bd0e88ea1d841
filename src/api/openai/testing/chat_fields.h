// For tests only: a chat request with some fields beside model and messages. Header only.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string_view>

#include "api/openai/chat_request.h"
#include "base/json.h"

namespace lem {

inline ParseResult<ChatRequest> ParseFields(std::string_view fields) {
  const auto body =
      ParseJson(fmt::format(R"({{"model":"m","messages":[{{"role":"user","content":"x"}}],{}}})", fields));
  EXPECT_TRUE(body.ok()) << fields;
  return ParseChatRequest(*body);
}

inline ChatRequest TakenFields(std::string_view fields) {
  const auto request = ParseFields(fields);
  EXPECT_TRUE(request.has_value()) << fields << (request ? "" : request.error().status.message());
  return request ? *request : ChatRequest();
}

}  // namespace lem
