#include "http/router.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "http/uri.h"

namespace lem::http {
namespace {

// Longer paths are not compared for the hint in a 404: the cost grows with the square.
constexpr size_t kMaxHintPath = 128;
constexpr size_t kMaxHints = 3;

std::vector<std::string_view> SplitSegments(std::string_view path) {
  std::vector<std::string_view> segments;
  path.remove_prefix(std::min<size_t>(path.size(), 1));  // the leading slash
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    segments.push_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return segments;
}

bool IsParam(std::string_view segment) { return segment.starts_with('{'); }
bool IsTail(std::string_view segment) { return segment.ends_with("*}"); }

std::string ParamName(std::string_view segment) {
  return std::string(segment.substr(1, segment.size() - (IsTail(segment) ? 3 : 2)));
}

// Order of preference, better first: compares segment by segment, literal before {name} before {name*}.
std::string Rank(const Route& route) {
  std::string rank;
  for (const std::string& segment : route.segments) rank += !IsParam(segment) ? 'a' : IsTail(segment) ? 'c' : 'b';
  return rank;
}

// The parameters if the decoded segments fit the pattern.
std::optional<std::vector<std::pair<std::string, std::string>>> MatchSegments(
    const std::vector<std::string>& pattern, const std::vector<std::string>& segments) {
  const bool has_tail = !pattern.empty() && IsTail(pattern.back());
  if (has_tail ? segments.size() < pattern.size() : segments.size() != pattern.size()) return std::nullopt;
  std::vector<std::pair<std::string, std::string>> params;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (!IsParam(pattern[i])) {
      if (pattern[i] != segments[i]) return std::nullopt;
      continue;
    }
    std::string value = segments[i];
    if (IsTail(pattern[i])) {
      for (size_t k = i + 1; k < segments.size(); ++k) value += '/' + segments[k];
    }
    params.emplace_back(ParamName(pattern[i]), std::move(value));
  }
  return params;
}

// Levenshtein distance in one row.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row.back();
}

std::vector<std::string> AllowedMethods(std::set<std::string> methods) {
  if (methods.empty()) return {};
  if (methods.contains("GET")) methods.insert("HEAD");
  methods.erase("OPTIONS");
  std::vector<std::string> allowed(methods.begin(), methods.end());
  allowed.emplace_back("OPTIONS");
  return allowed;
}

}  // namespace

void Router::Add(std::string method, std::string pattern, AsyncHandler handler, RouteOptions options) {
  LEM_CHECK(pattern.starts_with('/')) << pattern;
  auto route = std::make_unique<Route>();
  for (const std::string_view segment : SplitSegments(pattern)) route->segments.emplace_back(segment);
  for (size_t i = 0; i < route->segments.size(); ++i) {
    const std::string& segment = route->segments[i];
    LEM_CHECK(!segment.empty() && IsParam(segment) == segment.ends_with('}')) << pattern;
    LEM_CHECK(!IsTail(segment) || i + 1 == route->segments.size()) << pattern;
  }
  for (const auto& other : routes_) {
    LEM_CHECK(other->method != method || other->pattern != pattern) << method << ' ' << pattern;
  }
  route->method = std::move(method);
  route->pattern = std::move(pattern);
  route->options = options;
  route->handler = std::move(handler);
  // Kept in order of preference, so that the first match is the best.
  const auto place = std::upper_bound(routes_.begin(), routes_.end(), route,
                                      [](const auto& a, const auto& b) { return Rank(*a) < Rank(*b); });
  routes_.insert(place, std::move(route));
}

void Router::Add(std::string method, std::string pattern, SyncHandler handler, RouteOptions options) {
  AsyncHandler wrapped = [handler = std::move(handler)](const Request& request, const Responder& responder) {
    responder.Send(handler(request));
  };
  Add(std::move(method), std::move(pattern), std::move(wrapped), options);
}

void Router::AddWebSocket(const std::string& pattern, const WebSocketHandler& handler) {
  Add("GET", pattern, AsyncHandler(), {.run_on = RunOn::kIoThread});
  for (const auto& route : routes_) {
    if (route->method == "GET" && route->pattern == pattern) route->web_socket = handler;
  }
}

std::optional<RouteMatch> Router::Match(std::string_view method, std::string_view path) const {
  std::vector<std::string> segments;
  for (const std::string_view raw : SplitSegments(path)) {
    std::optional<std::string> decoded = PercentDecode(raw);
    if (!decoded) return std::nullopt;
    segments.push_back(std::move(*decoded));
  }
  RouteMatch match;
  const Route* get_route = nullptr;
  std::vector<std::pair<std::string, std::string>> get_params;
  std::set<std::string> methods;
  for (const auto& route : routes_) {
    auto params = MatchSegments(route->segments, segments);
    if (!params) continue;
    methods.insert(route->method);
    if (match.route == nullptr && route->method == method) {
      match.route = route.get();
      match.path_params = std::move(*params);
    } else if (get_route == nullptr && route->method == "GET") {
      get_route = route.get();
      get_params = std::move(*params);
    }
  }
  if (match.route == nullptr && method == "HEAD" && get_route != nullptr) {
    match.route = get_route;
    match.path_params = std::move(get_params);
  }
  match.allowed_methods = AllowedMethods(std::move(methods));
  return match;
}

std::vector<std::string> Router::CloseRoutes(std::string_view path) const {
  if (path.size() > kMaxHintPath) return {};
  std::vector<std::pair<size_t, std::string>> close;
  for (const auto& route : routes_) {
    // With or without a prefix such as /v1 is the commonest slip: compare also what follows it.
    size_t distance = EditDistance(path, route->pattern);
    if (route->pattern.ends_with(path) || path.ends_with(route->pattern)) distance = std::min<size_t>(distance, 1);
    if (distance <= std::max<size_t>(2, path.size() / 4))
      close.emplace_back(distance, route->method + ' ' + route->pattern);
  }
  std::sort(close.begin(), close.end());
  std::vector<std::string> hints;
  for (size_t i = 0; i < std::min(close.size(), kMaxHints); ++i) hints.push_back(std::move(close[i].second));
  return hints;
}

}  // namespace lem::http
