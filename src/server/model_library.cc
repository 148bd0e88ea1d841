#include "server/model_library.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "base/sha256.h"

namespace lem {
namespace {

constexpr std::string_view kDefaultTag = ":latest";

std::string IdentityOf(const ModelInfo& info) {
  const std::string identity = fmt::format("{} {} {}", info.path, info.size_bytes, info.created_unix_s);
  Sha256 hasher;
  hasher.Update(std::as_bytes(std::span(identity)));
  return hasher.FinishHex();
}

}  // namespace

std::vector<ModelLibrary::Entry> ModelLibrary::List() const {
  service_.RefreshModels();
  std::vector<Entry> entries;
  for (ModelInfo& info : service_.Models()) {
    Entry entry{info.id, info.size_bytes, info.created_unix_s, IdentityOf(info), std::nullopt};
    entry.info = std::move(info);
    entries.push_back(std::move(entry));
  }
  // A store that cannot be read has no models; what is served is there all the same.
  const auto stored = store_ == nullptr ? Result<std::vector<StoredModel>>(std::vector<StoredModel>()) : store_->List();
  if (stored.ok()) {
    for (const StoredModel& model : *stored) {
      const std::string path = store_->PathOf(model).string();
      const auto served = std::ranges::find_if(entries, [&](const Entry& entry) {
        return entry.id == model.name || (entry.info && entry.info->path == path);
      });
      if (served == entries.end()) {
        entries.push_back({model.name, model.size_bytes, model.pulled_at_unix_s, model.sha256, std::nullopt});
      } else {
        served->sha256 = model.sha256;
      }
    }
  }
  std::ranges::sort(entries, {}, &Entry::id);
  return entries;
}

std::optional<ModelLibrary::Entry> ModelLibrary::Find(std::string_view name) const {
  const std::string_view bare = name.ends_with(kDefaultTag) ? name.substr(0, name.size() - kDefaultTag.size()) : name;
  for (Entry& entry : List()) {
    if (entry.id == name || entry.id == bare) return std::move(entry);
  }
  return std::nullopt;
}

std::string ModelLibrary::ServedId(std::string_view name) const {
  if (service_.FindModel(std::string(name)).ok() || !name.ends_with(kDefaultTag)) return std::string(name);
  const std::string bare(name.substr(0, name.size() - kDefaultTag.size()));
  return service_.FindModel(bare).ok() ? bare : std::string(name);
}

}  // namespace lem
