#include "telemetry/sysfs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace lem::sysfs {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxEntries = 256;  // of one folder: machines with more packages, cards or zones are cut off there
constexpr size_t kMaxNameLength = 64;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

Status ReadError(int error, const fs::path& path) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENODEV:
    case ENXIO:
      return NotFound("gone: {} no longer answers ({})", path.string(), std::strerror(error));
    case EACCES:
      return PermissionDenied("permission: this user may not read {}", path.string());
    default:  // also EPERM, by which amdgpu says that the card sleeps or is being reset
      return Unavailable("no answer from {}: {}", path.string(), std::strerror(error));
  }
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::string Printable(std::string_view text) {
  std::string out(text.substr(0, kMaxNameLength));
  std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

template <typename T>
Result<T> ReadNumber(const fs::path& path, T min_value, T max_value) {
  LEM_ASSIGN_OR_RETURN(const std::string content, ReadPrefix(path));
  const std::string_view text = Trim(content);
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < min_value ||
      value > max_value) {
    return DataLoss("unreadable: {} holds '{}', not a number from {} to {}", path.string(), Printable(text), min_value,
                    max_value);
  }
  return value;
}

}  // namespace

Result<std::string> ReadPrefix(const fs::path& path, size_t max_bytes) {
  // O_NONBLOCK so that opening a FIFO cannot hang before the type is known.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ReadError(errno, path);
  struct stat info{};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return NotFound("gone: {} is not a regular file", path.string());
  }
  std::string content(max_bytes, '\0');
  size_t size = 0;
  int error = 0;
  while (size < max_bytes) {
    const ssize_t n = ::read(fd, content.data() + size, max_bytes - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) error = errno;
    if (n <= 0) break;
    size += static_cast<size_t>(n);
  }
  ::close(fd);
  if (error != 0) return ReadError(error, path);
  content.resize(size);
  return content;
}

Result<uint64_t> ReadUnsigned(const fs::path& path, uint64_t max_value) {
  return ReadNumber<uint64_t>(path, 0, max_value);
}

Result<int64_t> ReadSigned(const fs::path& path, int64_t max_magnitude) {
  return ReadNumber<int64_t>(path, -max_magnitude, max_magnitude);
}

std::string ReadName(const fs::path& path) {
  const Result<std::string> content = ReadPrefix(path, kMaxNameLength + 1);
  if (!content.ok()) return {};
  return Printable(Trim(std::string_view(*content).substr(0, content->find('\n'))));
}

std::vector<fs::path> Numbered(const fs::path& folder, std::string_view prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.size() > prefix.size() && name.starts_with(prefix) && IsDigit(name[prefix.size()])) {
      found.push_back(it->path());
    }
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {
    const auto number_of = [](const fs::path& path) {  // the digits after the prefix, without their value's limits
      const std::string& name = path.native();
      const size_t first = name.find_first_of("0123456789", name.rfind('/') + 1);
      return std::string_view(name).substr(first, name.find_first_not_of("0123456789", first) - first);
    };
    const std::string_view x = number_of(a), y = number_of(b);
    if (x.size() != y.size()) return x.size() < y.size();
    return x != y ? x < y : a.native() < b.native();
  });
  if (found.size() > kMaxEntries) found.resize(kMaxEntries);
  return found;
}

std::string LinkName(const fs::path& link) {
  std::error_code error;
  const fs::path target = fs::read_symlink(link, error);
  return error ? std::string() : Printable(target.filename().string());
}

bool IsPciAddress(std::string_view name) {
  constexpr std::string_view kForm = "xxxx:xx:xx.x";  // x: a hexadecimal digit
  if (name.size() != kForm.size()) return false;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool is_hex = IsDigit(name[i]) || (name[i] >= 'a' && name[i] <= 'f');
    if (kForm[i] == 'x' ? !is_hex : name[i] != kForm[i]) return false;
  }
  return true;
}

}  // namespace lem::sysfs
