// For tests of this module: the whole server over real sockets with a scripted service behind it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "http/testing_socket.h"
#include "server/api_server.h"
#include "server/testing/fake_service.h"

namespace lem {

inline JsonValue Parsed(std::string_view text) {
  auto json = ParseJson(text);
  EXPECT_TRUE(json.ok()) << json.status().ToString() << ": " << text;
  return json.ok() ? *std::move(json) : JsonValue();
}
inline std::string Text(const JsonValue& value) {
  return value.is_string() ? std::string(value.as_string().data(), value.as_string().size()) : "not a string";
}

// The data of each event of a stream's body; comments are left out.
inline std::vector<std::string> Events(std::string_view body) {
  std::vector<std::string> events;
  while (!body.empty()) {
    const size_t end = body.find("\n\n");
    EXPECT_NE(end, std::string_view::npos) << body;
    if (end == std::string_view::npos) break;
    if (body.starts_with("data: ")) events.emplace_back(body.substr(6, end - 6));
    body.remove_prefix(end + 2);
  }
  return events;
}

class ApiServerTest : public testing::Test {
 protected:
  ApiServerTest() { Restart({}); }
  ~ApiServerTest() override {
    server_.reset();
    EXPECT_EQ(service_.num_live(), 0);
  }

  void Restart(ApiServerOptions options) {
    server_.reset();
    server_ = std::make_unique<ApiServer>(service_, std::move(options));
    const Result<uint16_t> port = server_->Listen("127.0.0.1", 0);
    ASSERT_TRUE(port.ok()) << port.status().ToString();
    ASSERT_TRUE(server_->Start().ok());
    port_ = *port;
  }

  static std::string ChatBody(std::string_view more = "") {
    return fmt::format(R"({{"model":"fake","messages":[{{"role":"user","content":"Hi"}}]{}{}}})",
                       more.empty() ? "" : ",", more);
  }
  static std::string CompletionBody(std::string_view more) { return fmt::format(R"({{"model":"fake",{}}})", more); }
  http::RawResponse Ask(std::string_view path, std::string_view body) const {
    return http::RawClient(port_).Request(http::Post(path, body));
  }
  JsonValue AskJson(std::string_view path, std::string_view body, int status = 200) const {
    const http::RawResponse response = Ask(path, body);
    EXPECT_EQ(response.status, status) << response.body;
    return Parsed(response.body);
  }
  // The error object of a refused request.
  JsonValue Refused(std::string_view path, std::string_view body, int status) const {
    const JsonValue json = AskJson(path, body, status);
    const JsonObject& error = json.at("error").as_object();
    for (const char* key : {"message", "type", "param", "code"}) EXPECT_TRUE(error.contains(key)) << key;
    return error;
  }
  std::vector<JsonValue> AskStream(std::string_view path, std::string_view body) const {
    const http::RawResponse response = Ask(path, body);
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.headers.Get("Content-Type"), "text/event-stream");
    EXPECT_TRUE(response.complete);
    std::vector<std::string> events = Events(response.body);
    EXPECT_FALSE(events.empty());
    if (events.empty()) return {};
    EXPECT_EQ(events.back(), "[DONE]");
    events.pop_back();
    std::vector<JsonValue> chunks;
    chunks.reserve(events.size());
    for (const std::string& event : events) chunks.push_back(Parsed(event));
    return chunks;
  }

  FakeService service_;
  std::unique_ptr<ApiServer> server_;
  uint16_t port_ = 0;
};

}  // namespace lem
