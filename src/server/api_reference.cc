#include "server/api_reference.h"

#include <string>
#include <utility>

#include "base/embedded_file.h"

LEM_EMBED_FILE(kOpenApi, char, LEM_REFERENCE_FOLDER "/openapi.json")
LEM_EMBED_FILE(kReferencePage, char, LEM_REFERENCE_FOLDER "/api_reference.html")

namespace lem {
namespace {

// The page is whole as it is: it may read the document and nothing else.
constexpr const char* kPagePolicy =
    "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

std::string_view Between(const char* begin, const char* end) { return {begin, static_cast<size_t>(end - begin)}; }

}  // namespace

std::string_view OpenApiDocument() { return Between(kOpenApi, kOpenApiEnd); }

void AddReferenceRoutes(http::Router& router) {
  using http::Request;
  using http::Response;
  router.Add("GET", "/openapi.json",
             [](const Request&) { return Response::Json(200, std::string(OpenApiDocument())); });
  router.Add("GET", "/docs", [](const Request&) {
    Response response{200, {}, std::string(Between(kReferencePage, kReferencePageEnd))};
    response.headers = {{"Content-Type", "text/html; charset=utf-8"}, {"Content-Security-Policy", kPagePolicy}};
    return response;
  });
}

}  // namespace lem
