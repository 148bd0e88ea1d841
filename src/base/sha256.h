// SHA-256 of byte streams (OpenSSL EVP underneath). Not thread-safe: one hasher, one thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace lem {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(std::span<const std::byte> bytes);
  // 64 lower-case hex digits. The hasher is spent afterwards.
  std::string FinishHex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Hash of a whole file, read in pieces.
Result<std::string> Sha256HexOfFile(const std::filesystem::path& path);

}  // namespace lem
