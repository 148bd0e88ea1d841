// Base64 (RFC 4648, section 4) of bytes.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace lem {

std::string EncodeBase64(std::span<const std::byte> bytes);

}  // namespace lem
