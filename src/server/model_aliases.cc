#include "server/model_aliases.h"

#include <algorithm>

#include "base/json.h"

namespace lem {
namespace {

bool Matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  const std::string_view begin = pattern.substr(0, star), end = pattern.substr(star + 1);
  return name.size() >= begin.size() + end.size() && name.starts_with(begin) && name.ends_with(end);
}

}  // namespace

Result<ModelAliases> ModelAliases::Parse(std::span<const std::string> aliases) {
  ModelAliases parsed;
  for (const std::string& alias : aliases) {
    const size_t equals = std::min(alias.find('='), alias.size());
    std::string name = alias.substr(0, equals);
    std::string model = alias.substr(std::min(equals + 1, alias.size()));
    if (name.empty() || model.empty() || std::ranges::count(name, '*') > 1) {
      return InvalidArgument("alias {}: allowed: NAME=MODEL, in which NAME has at most one '*': \"gpt-*=smollm2:135m\"",
                             JsonQuote(alias));
    }
    parsed.models_.emplace_back(std::move(name), std::move(model));
  }
  return parsed;
}

std::optional<std::string> ModelAliases::Find(std::string_view name) const {
  auto found = std::ranges::find(models_, name, &std::pair<std::string, std::string>::first);
  if (found == models_.end()) {
    found = std::ranges::find_if(models_, [&](const auto& alias) { return Matches(alias.first, name); });
  }
  if (found == models_.end()) return std::nullopt;
  return found->second;
}

Result<ModelInfo> AliasedService::FindModel(const std::string& id) const {
  Result<ModelInfo> own = service_.FindModel(id);
  if (own.ok()) return own;
  const auto model = aliases_.Find(id);
  if (!model) return own;
  Result<ModelInfo> found = service_.FindModel(*model);
  if (found.ok()) return found;
  return std::move(found).status().WithContext(fmt::format("'{}' stands for '{}'", id, *model));
}

std::string AliasedService::Resolve(const std::string& id) const {
  if (service_.FindModel(id).ok()) return id;
  return aliases_.Find(id).value_or(id);
}

}  // namespace lem
