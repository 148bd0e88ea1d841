// The models that a server can tell of: those it serves and those in the store, under every name that clients give
// them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/inference_service.h"
#include "runtime/store/model_store.h"

namespace lem {

// Thread-safe. Service and store must outlive it.
class ModelLibrary {
 public:
  // Without a store there are only the models that are served.
  explicit ModelLibrary(InferenceService& service, ModelStore* store) : service_(service), store_(store) {}

  struct Entry {
    std::string id;
    uint64_t size_bytes = 0;
    int64_t modified_unix_s = 0;
    std::string sha256;             // of the file if the store knows it, else of its path, size and time
    std::optional<ModelInfo> info;  // if it is served
  };
  // By id.
  std::vector<Entry> List() const;
  // As List has it, or without the tag "latest".
  std::optional<Entry> Find(std::string_view name) const;
  // The id of the served model that is meant by a name; the name itself if there is none.
  std::string ServedId(std::string_view name) const;

  ModelStore* store() const { return store_; }

 private:
  InferenceService& service_;
  ModelStore* const store_;
};

}  // namespace lem
