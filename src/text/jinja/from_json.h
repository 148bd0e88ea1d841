// JSON of a request as template values.
#pragma once

#include "base/json.h"
#include "text/jinja/value.h"

namespace lem::jinja {

// Every string, number and literal in the value is marked as the caller's. Strings are not copied: REQUIRES that `json`
// outlives the heap. A value nested too deep marks the heap's budget.
Value FromJson(Heap& heap, const JsonValue& json);

}  // namespace lem::jinja
