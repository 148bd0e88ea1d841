// Times as dialects and logs write them. Pure functions.
#pragma once

#include <string>

namespace lem {

// "2026-01-31T23:59:59.123456Z"
std::string NowAsText();

}  // namespace lem
