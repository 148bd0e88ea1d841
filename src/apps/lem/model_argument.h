// The MODEL argument of commands that run a model.
#pragma once

#include <string>

#include "runtime/store/model_store.h"

namespace lem {

// Finds the model; one that the catalogue knows and the store lacks is pulled first, with progress on stderr.
Result<ModelRef> ResolveOrPull(const std::string& name_or_path);

}  // namespace lem
