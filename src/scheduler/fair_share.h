// How much each tenant was served, so that those who got least come first. A tenant that was away has no credit for it:
// it comes back level with the least served of those who are there. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace lem {

class FairShare {
 public:
  // A request of the tenant comes or goes. REQUIRES: Leave after Enter.
  void Enter(const std::string& tenant);
  void Leave(const std::string& tenant);
  // So many rows were computed for it.
  void Serve(const std::string& tenant, int64_t rows);
  // Rows so far, comparable between tenants that are there.
  int64_t ServiceOf(const std::string& tenant) const;

 private:
  struct Account {
    int64_t num_requests = 0;
    int64_t rows = 0;
  };
  std::map<std::string, Account> accounts_;  // of tenants with requests
  int64_t floor_ = 0;                        // what the last tenant to leave had
};

}  // namespace lem
