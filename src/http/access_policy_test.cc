#include "http/access_policy.h"

#include <gtest/gtest.h>

namespace lem::http {
namespace {

Request RequestFrom(std::string host, std::string origin) {
  Request request;
  request.method = "POST";
  if (!host.empty()) request.headers.Add("Host", std::move(host));
  if (!origin.empty()) request.headers.Add("Origin", std::move(origin));
  return request;
}

struct Case {
  const char* host;
  const char* origin;   // "" = none
  const char* verdict;  // "ok" or the code of the denial
};

void ExpectVerdicts(const AccessPolicy& policy, std::string_view bound_host, std::initializer_list<Case> cases) {
  for (const Case& item : cases) {
    const auto denial = policy.Check(RequestFrom(item.host, item.origin), "", bound_host);
    EXPECT_EQ(denial ? denial->code : "ok", item.verdict)
        << item.host << " | " << item.origin << " | " << (denial ? denial->message : "");
  }
}

TEST(AccessPolicyTest, BoundToLoopback) {
  ExpectVerdicts(AccessPolicy({}), "127.0.0.1",
                 {{"localhost", "", "ok"},
                  {"localhost:5366", "", "ok"},
                  {"LOCALHOST.:5366", "", "ok"},
                  {"127.0.0.1:5366", "", "ok"},
                  {"127.9.9.9", "", "ok"},
                  {"[::1]:5366", "", "ok"},
                  {"", "", "ok"},  // HTTP/1.0; no browser does that
                  {"evil.com", "", "host_not_allowed"},
                  {"evil.com:5366", "", "host_not_allowed"},
                  {"localhost.evil.com", "", "host_not_allowed"},
                  {"127.0.0.1.evil.com", "", "host_not_allowed"},
                  {"192.168.1.5", "", "host_not_allowed"},
                  {"0.0.0.0", "", "host_not_allowed"},
                  {"2130706433", "", "host_not_allowed"},
                  {"localhost:99999", "", "bad_host"},
                  {"localhost evil", "", "bad_host"},
                  {"localhost", "http://localhost:3000", "ok"},
                  {"localhost:5366", "https://127.0.0.1", "ok"},
                  {"localhost", "http://[::1]:8080", "ok"},
                  {"localhost", "http://evil.com", "origin_not_allowed"},
                  {"localhost", "http://localhost.evil.com", "origin_not_allowed"},
                  {"localhost", "null", "origin_not_allowed"},
                  {"localhost", "vscode-webview://abc", "origin_not_allowed"},
                  {"localhost", "file://", "origin_not_allowed"},
                  {"localhost", "ftp://localhost", "origin_not_allowed"},
                  {"localhost", "http://localhost, http://evil.com", "origin_not_allowed"}});
}

TEST(AccessPolicyTest, BoundToOtherAddresses) {
  for (const char* bound : {"0.0.0.0", "192.168.1.5", "::"}) {
    ExpectVerdicts(AccessPolicy({}), bound,
                   {{"192.168.1.5:5366", "", "ok"},
                    {"10.0.0.1", "", "ok"},
                    {"[fe80::1]", "", "ok"},
                    {"localhost", "", "ok"},
                    {"evil.com", "", "host_not_allowed"},
                    {"192.168.1.5:5366", "http://192.168.1.5:5366", "ok"},
                    {"192.168.1.5:5366", "http://192.168.1.5", "origin_not_allowed"},
                    {"192.168.1.5", "http://192.168.1.5:80", "ok"},
                    {"192.168.1.5", "http://192.168.1.6", "origin_not_allowed"}});
  }
}

TEST(AccessPolicyTest, Configured) {
  ExpectVerdicts(AccessPolicy({{"box.lan", "*.example.com"}, {"https://app.io", "vscode-webview://*", "null"}}),
                 "127.0.0.1",
                 {{"box.lan:1", "", "ok"},
                  {"BOX.lan", "", "ok"},
                  {"a.box.lan", "", "host_not_allowed"},
                  {"a.example.com", "", "ok"},
                  {"example.com", "", "host_not_allowed"},
                  {"evilexample.com", "", "host_not_allowed"},
                  {"box.lan", "http://box.lan", "ok"},
                  {"box.lan", "https://app.io", "ok"},
                  {"box.lan", "https://app.io:444", "origin_not_allowed"},
                  {"box.lan", "https://app.io.evil.com", "origin_not_allowed"},
                  {"box.lan", "vscode-webview://x1", "ok"},
                  {"box.lan", "null", "ok"}});
  ExpectVerdicts(AccessPolicy({{"*"}, {"*"}}), "127.0.0.1",
                 {{"evil.com", "http://other.evil.com", "ok"}, {"a b", "", "bad_host"}});
  // Only a scheme can be followed by '*'.
  ExpectVerdicts(AccessPolicy({{}, {"https://app.io*"}}), "127.0.0.1",
                 {{"localhost", "https://app.io.evil.com", "origin_not_allowed"}});
}

TEST(AccessPolicyTest, RepeatedFieldsAndAbsoluteForm) {
  const AccessPolicy policy({});
  Request request = RequestFrom("localhost", "");
  EXPECT_EQ(policy.Check(request, "evil.com", "127.0.0.1")->code, "host_not_allowed");
  EXPECT_FALSE(policy.Check(request, "localhost:1", "127.0.0.1"));
  request.headers.Add("Host", "localhost");
  EXPECT_EQ(policy.Check(request, "", "127.0.0.1")->status, 400);
  Request origins = RequestFrom("localhost", "http://localhost");
  origins.headers.Add("Origin", "http://evil.com");
  EXPECT_EQ(policy.Check(origins, "", "127.0.0.1")->code, "bad_origin");
}

TEST(AccessPolicyTest, MessagesNameTheValueHarmlessly) {
  const AccessPolicy policy({});
  const auto denial = policy.Check(RequestFrom("evil.com", ""), "", "127.0.0.1");
  ASSERT_TRUE(denial);
  EXPECT_NE(denial->message.find("'evil.com'"), std::string::npos);
  EXPECT_NE(denial->message.find("allowed_hosts"), std::string::npos);
  const auto odd = policy.Check(RequestFrom("\x1b[31m\xff" + std::string(500, 'a'), ""), "", "127.0.0.1");
  ASSERT_TRUE(odd);
  EXPECT_EQ(odd->message.find('\x1b'), std::string::npos);
  EXPECT_LT(odd->message.size(), 200u);
}

TEST(AccessPolicyTest, CorsFields) {
  const AccessPolicy policy({});
  EXPECT_EQ(policy.CorsHeaders(RequestFrom("localhost", "")).size(), 0u);
  const Headers cors = policy.CorsHeaders(RequestFrom("localhost", "http://localhost:3000"));
  EXPECT_EQ(cors.Get("Access-Control-Allow-Origin"), "http://localhost:3000");
  EXPECT_EQ(cors.Get("Vary"), "Origin");

  Request preflight = RequestFrom("localhost", "http://localhost:3000");
  preflight.method = "OPTIONS";
  EXPECT_FALSE(IsPreflight(preflight));
  preflight.headers.Add("Access-Control-Request-Method", "POST");
  EXPECT_TRUE(IsPreflight(preflight));
  EXPECT_EQ(AccessPolicy::PreflightHeaders(preflight, {"POST", "OPTIONS"}).Get("Access-Control-Allow-Methods"),
            "POST, OPTIONS");
  EXPECT_NE(AccessPolicy::PreflightHeaders(preflight, {}).Get("Access-Control-Allow-Headers").find("Authorization"),
            std::string_view::npos);
  preflight.headers.Add("Access-Control-Request-Headers", "authorization,x-stainless-os");
  EXPECT_EQ(AccessPolicy::PreflightHeaders(preflight, {}).Get("Access-Control-Allow-Headers"),
            "authorization,x-stainless-os");
}

}  // namespace
}  // namespace lem::http
