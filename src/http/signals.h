// Waiting for the signals that end a program, without handlers.
#pragma once

#include <csignal>

namespace lem::http {

// Blocks SIGINT and SIGTERM in the thread that makes it and in those started afterwards (make it in main, before any
// other thread), so that they come out of Wait and nowhere else. The destructor restores the thread's mask.
class TerminationSignals {
 public:
  TerminationSignals();
  ~TerminationSignals();
  TerminationSignals(const TerminationSignals&) = delete;
  TerminationSignals& operator=(const TerminationSignals&) = delete;

  // Blocks until one of them comes and returns its number.
  int Wait() const;

 private:
  sigset_t signals_;
  sigset_t previous_mask_;
};

}  // namespace lem::http
