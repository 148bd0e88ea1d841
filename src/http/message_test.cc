// Messages, response heads and server-sent events as text.
#include "http/message.h"

#include <gtest/gtest.h>

#include "http/response_head.h"
#include "http/sse.h"

namespace lem::http {
namespace {

TEST(MessageTest, HeadersCompareWithoutCase) {
  Headers headers = {{"Content-Type", "a"}};
  headers.Add("content-type", "b");
  EXPECT_EQ(headers.Get("CONTENT-TYPE"), "a");
  EXPECT_EQ(headers.Count("Content-type"), 2u);
  EXPECT_EQ(headers.Find("Content"), nullptr);
}

TEST(MessageTest, MediaTypes) {
  EXPECT_EQ(MediaType("Application/JSON ; charset=utf-8"), "application/json");
  for (const char* bad : {"", "json", "/", "a/", "/b", "a b/c", ";a/b"}) EXPECT_EQ(MediaType(bad), "") << bad;
  for (const char* json : {"application/json", "application/json;charset=UTF-8", "application/vnd.api+json"}) {
    EXPECT_TRUE(IsJsonMediaType(json)) << json;
  }
  for (const char* other : {"", "text/plain", "text/json", "application/jsonx", "application/x-www-form-urlencoded",
                            "multipart/form-data; boundary=application/json", "text/plain;application/json"}) {
    EXPECT_FALSE(IsJsonMediaType(other)) << other;
  }
}

TEST(MessageTest, HttpDate) { EXPECT_EQ(HttpDate(784111777), "Sun, 06 Nov 1994 08:49:37 GMT"); }

TEST(MessageTest, ResponseHead) {
  const Response response{404, {{"A", "b\r\nC: d"}, {"connection", "x"}, {"Transfer-Encoding", "x"}}, ""};
  EXPECT_EQ(SerializeHead(response, {{"X", "y"}}, BodyFraming::kLength, 7, ConnectionField::kClose, "now"),
            "HTTP/1.1 404 Not Found\r\nA: b  C: d\r\nX: y\r\nDate: now\r\nContent-Length: 7\r\n"
            "Connection: close\r\n\r\n");
  EXPECT_EQ(SerializeHead({204, {}, ""}, {}, BodyFraming::kNone, 0, ConnectionField::kKeepAlive, "now"),
            "HTTP/1.1 204 No Content\r\nDate: now\r\nConnection: keep-alive\r\n\r\n");
}

TEST(MessageTest, ServerSentEvents) {
  EXPECT_EQ(SseEvent("{}"), "data: {}\n\n");
  EXPECT_EQ(SseEvent("", "ping"), "event: ping\ndata: \n\n");
  EXPECT_EQ(SseEvent("a\nb\r\nc\rd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
  EXPECT_EQ(SseComment("ping"), ": ping\n\n");
}

}  // namespace
}  // namespace lem::http
