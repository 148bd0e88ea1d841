// Routes: method and path pattern -> handler. Filled before the server starts, then read by all threads.
//
//   router.Add("POST", "/v1/chat/completions", [](Request request, Responder responder) { ... });
//   router.Add("GET", "/v1/models/{id*}", [](const Request& request) { return Response::Json(200, ...); });
//
// A pattern's segment is literal, {name} (one segment) or, at the end, {name*} (one or more segments, joined by '/').
// The most literal pattern wins. Trailing and repeated slashes in a request do not matter.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/message.h"
#include "http/responder.h"
#include "http/web_socket.h"

namespace lem::http {

// Answers by `responder`, now or later. Must not block for long: see RunOn.
using AsyncHandler = std::function<void(Request request, Responder responder)>;
// Answers at once.
using SyncHandler = std::function<Response(const Request& request)>;

enum class RunOn {
  kWorker,    // a thread of the server's small pool: for JSON, templates, tokenising
  kIoThread,  // the connection's I/O thread: only for what takes microseconds (/health)
};

enum class BodyType {
  kJson,  // a body that is not application/json (or +json) is refused with 415
  kAny,
};

struct RouteOptions {
  RunOn run_on = RunOn::kWorker;
  BodyType body_type = BodyType::kJson;
};

struct Route {
  std::string method;
  std::string pattern;
  std::vector<std::string> segments;  // of the pattern
  RouteOptions options;
  AsyncHandler handler;
  WebSocketHandler web_socket;  // set instead of the handler: the route opens WebSockets
};

// What a request's method and path lead to.
struct RouteMatch {
  const Route* route = nullptr;  // null: 404, or 405 if allowed_methods is not empty
  std::vector<std::pair<std::string, std::string>> path_params;
  std::vector<std::string> allowed_methods;  // that the path knows, for Allow; HEAD where GET is; OPTIONS last
};

class Router {
 public:
  // REQUIRES: a well-formed pattern (begins with '/', {name*} only last), not added before with this method.
  void Add(std::string method, std::string pattern, AsyncHandler handler, RouteOptions options = {});
  void Add(std::string method, std::string pattern, SyncHandler handler, RouteOptions options = {});

  // GET with a request for an upgrade; anything else is answered with 426.
  void AddWebSocket(const std::string& pattern, const WebSocketHandler& handler);

  // `path` is a NormalizePath result. HEAD falls back to GET. nullopt: a segment has a broken %-escape.
  std::optional<RouteMatch> Match(std::string_view method, std::string_view path) const;

  // Up to three routes whose pattern looks like `path`, nearest first: "POST /v1/completions".
  std::vector<std::string> CloseRoutes(std::string_view path) const;

  const std::vector<std::unique_ptr<Route>>& routes() const { return routes_; }

 private:
  std::vector<std::unique_ptr<Route>> routes_;  // Route pointers stay valid while the router lives
};

}  // namespace lem::http
