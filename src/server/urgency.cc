#include "server/urgency.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <string_view>

#include "base/sha256.h"

namespace lem {
namespace {

constexpr std::array<std::string_view, kNumPriorities> kNames = {"interactive", "batch", "background"};
constexpr double kLongestTarget = 86'400'000;  // a day

tl::unexpected<RequestError> BadHeader(std::string_view name, std::string_view value, std::string_view allowed) {
  return tl::unexpected(RequestError{InvalidArgument("header {} is \"{}\"; allowed: {}", name, value, allowed),
                                     std::string(name), "invalid_header"});
}

ParseResult<double> ReadTarget(const http::Request& request, std::string_view name) {
  const std::string* value = request.headers.Find(name);
  if (value == nullptr) return 0.0;
  double target = 0;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), target);
  if (error != std::errc() || end != value->data() + value->size() || !(target > 0 && target <= kLongestTarget)) {
    return BadHeader(name, *value, "milliseconds, more than 0 and at most a day");
  }
  return target;
}

}  // namespace

ParseResult<Urgency> ReadUrgency(const http::Request& request) {
  Urgency urgency;
  constexpr std::string_view kPriority = "x-lem-priority";
  if (const std::string* name = request.headers.Find(kPriority)) {
    const auto known = std::ranges::find(kNames, *name);
    if (known == kNames.end()) return BadHeader(kPriority, *name, "interactive, batch, background");
    urgency.priority = static_cast<Priority>(known - kNames.begin());
  }
  const auto ttft = ReadTarget(request, "x-llm-d-slo-ttft-ms");
  if (!ttft) return tl::unexpected(ttft.error());
  const auto tpot = ReadTarget(request, "x-llm-d-slo-tpot-ms");
  if (!tpot) return tl::unexpected(tpot.error());
  urgency.ttft_target_ms = *ttft;
  urgency.tpot_target_ms = *tpot;
  for (const std::string_view name : {"authorization", "x-api-key"}) {
    const std::string* secret = request.headers.Find(name);
    if (secret == nullptr) continue;
    Sha256 hasher;  // no secret goes further down
    hasher.Update(std::as_bytes(std::span(*secret)));
    urgency.tenant = hasher.FinishHex().substr(0, 16);
    break;
  }
  return urgency;
}

void SetUrgency(const Urgency& urgency, GenerateRequest& request) {
  request.priority = urgency.priority;
  request.ttft_target_ms = urgency.ttft_target_ms;
  request.tpot_target_ms = urgency.tpot_target_ms;
  request.tenant = urgency.tenant;
}

}  // namespace lem
