// Calls written as Python: [get_weather(city="Paris", days=3)], print(f(x=1)). Only keyword arguments whose values are
// literals. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lem {

struct PythonCall {
  std::string name;
  std::string arguments;  // JSON
};

// nullopt if the text is anything but such calls; only names that `is_tool` knows are calls.
std::optional<std::vector<PythonCall>> ParsePythonCalls(std::string_view text, const std::vector<std::string>& tools);

}  // namespace lem
