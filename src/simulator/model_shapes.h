// Published sizes of models that one may plan for without having them, and the bits a weight takes in the formats that
// they are published in.
#pragma once

#include <span>
#include <string_view>

#include "base/status.h"
#include "scheduler/cost/model_work.h"

namespace lem {

std::span<const ModelShape> KnownModelShapes();
std::span<const QuantBits> KnownQuants();

// Names as people write them: case does not matter. Errors: NotFound naming what there is.
Result<const ModelShape*> FindModelShape(std::string_view name);
Result<const QuantBits*> FindQuant(std::string_view name);

}  // namespace lem
