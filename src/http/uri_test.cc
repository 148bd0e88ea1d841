#include "http/uri.h"

#include <gtest/gtest.h>

namespace lem::http {
namespace {

TEST(UriTest, PercentDecode) {
  EXPECT_EQ(PercentDecode("a%20b%2Fc%c3%A9"), "a b/c\xc3\xa9");
  EXPECT_EQ(PercentDecode("+"), "+");
  for (const char* bad : {"%", "%4", "a%4", "%zz", "%4g", "%00"}) EXPECT_EQ(PercentDecode(bad), std::nullopt) << bad;
  EXPECT_EQ(PercentDecode(std::string_view("a\0b", 3)), std::nullopt);
}

TEST(UriTest, SplitTarget) {
  const auto split = [](std::string_view target) {
    const Result<TargetParts> parts = SplitTarget(target);
    return parts.ok() ? fmt::format("{}|{}|{}", parts->authority, parts->path, parts->query) : "error";
  };
  EXPECT_EQ(split("/a/b?c=d?e"), "|/a/b|c=d?e");
  EXPECT_EQ(split("/"), "|/|");
  EXPECT_EQ(split("*"), "|*|");
  EXPECT_EQ(split("http://h:1/p?q"), "h:1|/p|q");
  EXPECT_EQ(split("HTTPS://h"), "h|/|");
  EXPECT_EQ(split("http://h?q"), "h|/|q");
  EXPECT_EQ(split("/see?u=http://x/"), "|/see|u=http://x/");
  for (const char* bad : {"", "a", "h:80", "ftp://h/", "http:///p", "/a#b", "/a b", "/\x7f", "/caf\xc3\xa9", "**"}) {
    EXPECT_EQ(split(bad), "error") << bad;
  }
}

TEST(UriTest, NormalizePath) {
  EXPECT_EQ(NormalizePath("/v1//models///"), "/v1/models");
  EXPECT_EQ(NormalizePath("//"), "/");
  EXPECT_EQ(NormalizePath("/"), "/");
  EXPECT_EQ(NormalizePath("/a/../b"), "/a/../b");
}

TEST(UriTest, ParseQuery) {
  using Params = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(*ParseQuery("a=1&b=%20x+y&&c&d=e=f"), (Params{{"a", "1"}, {"b", " x y"}, {"c", ""}, {"d", "e=f"}}));
  EXPECT_EQ(*ParseQuery(""), Params());
  EXPECT_FALSE(ParseQuery("a=%").ok());
  std::string many;
  for (int i = 0; i < 256; ++i) many += "a&";
  EXPECT_TRUE(ParseQuery(many).ok());
  EXPECT_FALSE(ParseQuery(many + "a").ok());
}

TEST(UriTest, ParseAuthority) {
  const auto parse = [](std::string_view text) {
    const auto authority = ParseAuthority(text);
    if (!authority) return std::string("none");
    return fmt::format("{} {} {}{}", authority->host, authority->port ? std::to_string(*authority->port) : "-",
                       authority->is_ip ? "ip" : "name", authority->is_loopback ? " loopback" : "");
  };
  EXPECT_EQ(parse("LocalHost:5366"), "localhost 5366 name loopback");
  EXPECT_EQ(parse("localhost."), "localhost - name loopback");
  EXPECT_EQ(parse("127.0.0.1"), "127.0.0.1 - ip loopback");
  EXPECT_EQ(parse("127.255.1.2:"), "127.255.1.2 - ip loopback");
  EXPECT_EQ(parse("[::1]:80"), "::1 80 ip loopback");
  EXPECT_EQ(parse("[::ffff:127.0.0.1]"), "::ffff:127.0.0.1 - ip loopback");
  EXPECT_EQ(parse("[2001:db8::1]"), "2001:db8::1 - ip");
  EXPECT_EQ(parse("example.com:65535"), "example.com 65535 name");
  EXPECT_EQ(parse("0.0.0.0"), "0.0.0.0 - ip");
  // What resolvers may take for 127.0.0.1 is only a name here.
  EXPECT_EQ(parse("2130706433"), "2130706433 - name");
  EXPECT_EQ(parse("127.1"), "127.1 - name");
  EXPECT_EQ(parse("localhost.evil.com"), "localhost.evil.com - name");
  for (const char* bad : {"", ":80", "a:b", "a:65536", "a:-1", "[::1", "[::1]x", "[localhost]", "::1", "a b", "a@b",
                          "a/b", "a,b", "[]", "\xc3\xa9"}) {
    EXPECT_EQ(parse(bad), "none") << bad;
  }
  EXPECT_FALSE(ParseAuthority(std::string_view("localhost\0.evil.com", 19)));
  EXPECT_EQ(parse(std::string(254, 'a')), "none");
}

TEST(UriTest, ParseOrigin) {
  const auto origin = ParseOrigin("HTTP://LocalHost:3000");
  ASSERT_TRUE(origin);
  EXPECT_EQ(origin->scheme, "http");
  EXPECT_EQ(origin->authority.host, "localhost");
  EXPECT_EQ(origin->authority.port, 3000);
  for (const char* bad : {"null", "", "localhost", "http://", "://a", "http://a/path", "http://a b"}) {
    EXPECT_FALSE(ParseOrigin(bad)) << bad;
  }
}

}  // namespace
}  // namespace lem::http
