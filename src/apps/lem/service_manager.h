// What a service manager (systemd) hands over and wants to hear, by its environment variables. Where there is none,
// nothing happens.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

namespace lem {

// Sockets that listen already (LISTEN_FDS), which are the caller's from now on. Call it once, before threads start.
std::vector<int> TakeListeningDescriptors();

// Sends "READY=1" or the like to NOTIFY_SOCKET. From any thread.
void NotifyServiceManager(std::string_view state);

// Tells the service manager twice in each of its intervals (WATCHDOG_USEC) that the program works, as long as
// `is_alive` says so within the time that it is given; who stays silent is started anew.
class Watchdog {
 public:
  explicit Watchdog(std::function<bool(std::chrono::milliseconds patience)> is_alive);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void Run(std::chrono::milliseconds pause);

  const std::function<bool(std::chrono::milliseconds)> is_alive_;
  std::mutex mutex_;
  std::condition_variable ended_changed_;
  bool ended_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace lem
