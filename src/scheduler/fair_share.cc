#include "scheduler/fair_share.h"

#include <algorithm>
#include <optional>

namespace lem {

void FairShare::Enter(const std::string& tenant) {
  const auto [account, is_new] = accounts_.try_emplace(tenant);
  if (is_new) {
    std::optional<int64_t> least;
    for (const auto& [name, other] : accounts_) {
      if (name != tenant) least = std::min(least.value_or(other.rows), other.rows);
    }
    account->second.rows = least.value_or(floor_);
  }
  ++account->second.num_requests;
}

void FairShare::Leave(const std::string& tenant) {
  const auto account = accounts_.find(tenant);
  if (account == accounts_.end() || --account->second.num_requests > 0) return;
  floor_ = std::max(floor_, account->second.rows);
  accounts_.erase(account);
}

void FairShare::Serve(const std::string& tenant, int64_t rows) {
  const auto account = accounts_.find(tenant);
  if (account != accounts_.end()) account->second.rows += rows;
}

int64_t FairShare::ServiceOf(const std::string& tenant) const {
  const auto account = accounts_.find(tenant);
  return account == accounts_.end() ? floor_ : account->second.rows;
}

}  // namespace lem
