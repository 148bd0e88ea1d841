#include "runtime/store/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace lem {
namespace {

using testing::HasSubstr;

Result<ProcessResult> RunShell(const std::string& script, const CancelToken& cancel = {}) {
  ProcessOptions options;
  options.arguments = {"sh", "-c", script};
  options.environment = {"LEM_PROCESS_TEST=a b", "HOME=/elsewhere"};
  options.folder = "/";
  return RunProcess(options, cancel);
}

TEST(ProcessTest, CatchesOutputAndExitCode) {
  const Result<ProcessResult> result =
      RunShell("echo out; echo err >&2; pwd; echo \"$LEM_PROCESS_TEST|$HOME\"; cat; exit 7");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->exit_code, 7);
  EXPECT_EQ(result->output_tail, "out\nerr\n/\na b|/elsewhere\n");
  EXPECT_EQ(RunShell("kill -9 $$")->exit_code, 128 + SIGKILL);
}

TEST(ProcessTest, KeepsTheEndOfMuchOutput) {
  const Result<ProcessResult> result = RunShell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
  ASSERT_TRUE(result.ok());
  EXPECT_LE(result->output_tail.size(), 16u << 10);
  EXPECT_THAT(result->output_tail, HasSubstr("line 19999\n"));
}

TEST(ProcessTest, SaysThatThereIsNoSuchProgram) {
  ProcessOptions options;
  options.arguments = {"no-such-program-of-lemonade"};
  const Status status = RunProcess(options, CancelToken()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("no-such-program-of-lemonade"));
}

TEST(ProcessTest, DoesNotWaitForWhoeverHoldsTheOutput) {
  const auto begin = Clock::now();
  EXPECT_EQ(RunShell("sleep 30 & exit 3")->exit_code, 3);
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(10));
}

TEST(ProcessTest, CancelEndsTheWholeGroup) {
  CancelToken cancel;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    cancel.Cancel();
  });
  const auto begin = Clock::now();
  // The child of the child would write this file if it lived on.
  const std::string file = testing::TempDir() + "/lem-process-test-alive";
  ::unlink(file.c_str());
  const Status status = RunShell("(sleep 4; touch " + file + ") & wait", cancel).status();
  canceller.join();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(3));
  std::this_thread::sleep_until(begin + std::chrono::milliseconds(4500));
  EXPECT_NE(::access(file.c_str(), F_OK), 0);
  // One that ignores SIGTERM is killed.
  CancelToken at_once;
  at_once.Cancel();
  const auto again = Clock::now();
  EXPECT_EQ(RunShell("trap '' TERM; while true; do sleep 1; done", at_once).status().code(), StatusCode::kCancelled);
  EXPECT_LT(Clock::now() - again, std::chrono::seconds(5));
}

}  // namespace
}  // namespace lem
