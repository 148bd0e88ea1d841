// Names from a file, made fit for a message.
#pragma once

#include <string>
#include <string_view>

namespace lem {

// 'name' in quotes, cut to a readable length; nothing in it can control a terminal.
std::string QuoteForMessage(std::string_view name);

}  // namespace lem
