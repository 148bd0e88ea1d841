// What the server serves, told by itself: openapi.json, the description of every route (OpenAPI 3.1), and a page that
// shows it and loads nothing from elsewhere. Both are files of the source tree that are built in. A test holds the
// document against the router, both ways.
#pragma once

#include <string_view>

#include "http/router.h"

namespace lem {

std::string_view OpenApiDocument();

// /openapi.json and /docs.
void AddReferenceRoutes(http::Router& router);

}  // namespace lem
