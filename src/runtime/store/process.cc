#include "runtime/store/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

extern char** environ;

namespace lem {
namespace {

constexpr size_t kMaxOutputBytes = size_t{16} << 10;
constexpr int kTickMs = 100;
constexpr std::chrono::seconds kTermGrace{2};  // between SIGTERM and SIGKILL

// Spawn attributes and file actions, freed at the end of the scope.
class SpawnPlan {
 public:
  SpawnPlan() {
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&actions);
  }
  ~SpawnPlan() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
};

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& string : strings) out.push_back(string.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> Environment(const std::vector<std::string>& extra) {
  std::vector<std::string> out = extra;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view own = *entry;
    bool replaced = false;
    for (const std::string& other : extra) replaced |= own.starts_with(other.substr(0, other.find('=') + 1));
    if (!replaced) out.emplace_back(own);
  }
  return out;
}

// A running child; its whole group is ended if it is destroyed before it was waited for.
class Child {
 public:
  Child(pid_t pid, int output_fd) : pid_(pid), output_fd_(output_fd) {}
  ~Child() {
    if (pid_ > 0) End();
    ::close(output_fd_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // True when it has ended; then exit_code() is set.
  bool TryWait() {
    if (pid_ <= 0) return true;
    int status = 0;
    const pid_t waited = ::waitpid(pid_, &status, WNOHANG);
    if (waited == 0 || (waited < 0 && errno == EINTR)) return false;
    exit_code_ = waited < 0 ? 255 : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    pid_ = -1;
    return true;
  }

  void End() {
    const pid_t group = pid_;
    ::kill(-group, SIGTERM);
    const auto deadline = Clock::now() + kTermGrace;
    while (!TryWait() && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ::kill(-group, SIGKILL);
    while (!TryWait()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  enum class Read { kSome, kNothing, kEnd };
  // Reads what there is, waiting up to wait_ms for it.
  Read ReadOutput(int wait_ms, std::string& tail) {
    pollfd ready{output_fd_, POLLIN, 0};
    if (::poll(&ready, 1, wait_ms) <= 0) return Read::kNothing;
    char buffer[4096];
    const ssize_t n = ::read(output_fd_, buffer, sizeof(buffer));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return Read::kNothing;
    if (n <= 0) return Read::kEnd;
    tail.append(buffer, static_cast<size_t>(n));
    if (tail.size() > kMaxOutputBytes) tail.erase(0, tail.size() - kMaxOutputBytes);
    return Read::kSome;
  }

  int exit_code() const { return exit_code_; }

 private:
  pid_t pid_;
  int output_fd_;
  int exit_code_ = 0;
};

}  // namespace

Result<ProcessResult> RunProcess(const ProcessOptions& options, const CancelToken& cancel) {
  std::vector<std::string> arguments = options.arguments;
  std::vector<std::string> environment = Environment(options.environment);
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) return Internal("cannot make a pipe: {}", std::strerror(errno));

  SpawnPlan plan;
  // A group of its own: Ctrl-C reaches us alone, and we can end it with all its children.
  posix_spawnattr_setflags(&plan.attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(&plan.attributes, 0);
  sigset_t none, usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) sigaddset(&usual, signal);
  posix_spawnattr_setsigmask(&plan.attributes, &none);
  posix_spawnattr_setsigdefault(&plan.attributes, &usual);
  posix_spawn_file_actions_addopen(&plan.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&plan.actions, pipe_fds[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&plan.actions, pipe_fds[1], STDERR_FILENO);
  if (!options.folder.empty()) posix_spawn_file_actions_addchdir_np(&plan.actions, options.folder.c_str());

  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, arguments[0].c_str(), &plan.actions, &plan.attributes,
                                   Pointers(arguments).data(), Pointers(environment).data());
  ::close(pipe_fds[1]);
  if (error != 0) {
    ::close(pipe_fds[0]);
    if (error == ENOENT) return NotFound("there is no program {} in PATH", arguments[0]);
    return Internal("cannot start {}: {}", arguments[0], std::strerror(error));
  }

  Child child(pid, pipe_fds[0]);
  ProcessResult result;
  bool open = true;
  while (!child.TryWait()) {
    if (cancel.cancelled()) {
      child.End();
      return Cancelled("{} was stopped", arguments[0]);
    }
    if (options.on_tick) options.on_tick();
    if (open) {
      open = child.ReadOutput(kTickMs, result.output_tail) != Child::Read::kEnd;
    } else {
      // It has closed its output, so mostly it is about to end.
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  // What it wrote last. A grandchild may hold the pipe open for ever: take only what is there.
  while (open && child.ReadOutput(0, result.output_tail) == Child::Read::kSome) {
  }
  result.exit_code = child.exit_code();
  return result;
}

}  // namespace lem
