#include "apps/lem/repl.h"

#include <editline/readline.h>

#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "apps/lem/terminal.h"
#include "base/file.h"

namespace lem {
namespace {

constexpr const char* kHelp =
    "/set NAME VALUE   temperature, top_k, top_p, min_p, repeat_penalty, seed, max_tokens\n"
    "/system TEXT      set the system prompt and begin anew\n"
    "/clear            forget the conversation\n"
    "/show             the model and the settings\n"
    "/stats            speed of the last answer\n"
    "/bye              leave (also Ctrl-D)\n"
    "\"\"\"               begin and end a message of several lines; a line ending in \\ goes on too\n"
    "Ctrl-C            stop the answer";

// Only the handler and the wait for an answer touch it; one answer is under way at a time.
CancelToken* g_interrupt = nullptr;

void HandleInterrupt(int) {
  if (g_interrupt != nullptr) g_interrupt->Cancel();  // an atomic store: safe in a handler
}

// While it lives, Ctrl-C cancels `token` instead of ending the program.
class InterruptScope {
 public:
  explicit InterruptScope(CancelToken& token) {
    g_interrupt = &token;
    struct sigaction action{};
    action.sa_handler = HandleInterrupt;
    ::sigaction(SIGINT, &action, &previous_);
  }
  ~InterruptScope() {
    ::sigaction(SIGINT, &previous_, nullptr);
    g_interrupt = nullptr;
  }
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  struct sigaction previous_{};
};

std::optional<std::string> ReadLine(const char* prompt) {
  char* line = ::readline(prompt);
  if (line == nullptr) return std::nullopt;
  std::string text = line;
  std::free(line);
  return text;
}

// One message: a line, lines joined by a trailing backslash, or everything between two """.
std::optional<std::string> ReadMessage() {
  std::optional<std::string> line = ReadLine(">>> ");
  if (!line) return std::nullopt;
  if (line->starts_with("\"\"\"")) {
    std::string text = line->substr(3);
    while (!text.ends_with("\"\"\"")) {
      const std::optional<std::string> more = ReadLine("... ");
      if (!more) return text;
      text += (text.empty() ? "" : "\n") + *more;
    }
    return text.substr(0, text.size() - 3);
  }
  while (line->ends_with('\\')) {
    line->back() = '\n';
    const std::optional<std::string> more = ReadLine("... ");
    if (!more) break;
    *line += *more;
  }
  return line;
}

template <typename T>
Status Assign(T& target, std::string_view name, std::string_view value) {
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), target);
  if (error == std::errc() && end == value.data() + value.size()) return OkStatus();
  return InvalidArgument("{} is '{}'; it must be a number", name, value);
}

Status SetOption(AnswerOptions& options, std::string_view name, std::string_view value) {
  AnswerOptions changed = options;
  SamplingParams& s = changed.sampling;
  if (name == "temperature") {
    LEM_TRY(Assign(s.temperature, name, value));
  } else if (name == "top_k") {
    LEM_TRY(Assign(s.top_k, name, value));
  } else if (name == "top_p") {
    LEM_TRY(Assign(s.top_p, name, value));
  } else if (name == "min_p") {
    LEM_TRY(Assign(s.min_p, name, value));
  } else if (name == "repeat_penalty") {
    LEM_TRY(Assign(s.repetition_penalty, name, value));
  } else if (name == "max_tokens") {
    LEM_TRY(Assign(changed.max_tokens, name, value));
  } else if (name == "seed") {
    uint64_t seed = 0;
    LEM_TRY(Assign(seed, name, value));
    s.seed = seed;
  } else {
    return InvalidArgument("there is no setting '{}'; see /help", name);
  }
  LEM_TRY(CheckSamplingParams(s));
  options = changed;
  return OkStatus();
}

class Repl {
 public:
  explicit Repl(ChatSession& session) : session_(session), history_file_((StateDir() / "history").string()) {}

  Status Run() {
    std::error_code ignored;  // without the folder the history is just not kept
    std::filesystem::create_directories(StateDir(), ignored);
    ::using_history();
    ::stifle_history(1000);
    ::read_history(history_file_.c_str());
    PrintLine(stdout, fmt::format("{} ({}, {}). /help shows the commands, /bye leaves.", session_.model().id,
                                  session_.model().architecture, session_.model().quantization));
    std::signal(SIGINT, SIG_IGN);  // between answers Ctrl-C must not lose the conversation
    while (std::optional<std::string> message = ReadMessage()) {
      if (message->find_first_not_of(" \t\n") == std::string::npos) continue;
      ::add_history(message->c_str());
      if (message->starts_with('/')) {
        if (!HandleCommand(*message)) break;
      } else {
        Answer(std::move(*message));
      }
    }
    ::write_history(history_file_.c_str());
    return OkStatus();
  }

 private:
  void Answer(std::string message) {
    CancelToken interrupt;
    const InterruptScope scope(interrupt);
    const auto on_text = [](const std::string& text) {
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    };
    const Result<lem::Answer> answer = session_.Say(std::move(message), on_text, interrupt);
    PrintLine(stdout, "");
    if (!answer.ok()) {
      PrintError(answer.status().message());
      return;
    }
    last_usage_ = answer->usage;
    if (answer->reason == FinishReason::kLength) PrintLine(stderr, "(cut: the token limit or the context is reached)");
  }

  // False: leave.
  bool HandleCommand(const std::string& line) {
    const size_t space = line.find(' ');
    const std::string command = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(line.find_first_not_of(' ', space));
    if (command == "/bye" || command == "/exit" || command == "/quit") return false;
    if (command == "/help" || command == "/?") {
      PrintLine(stdout, kHelp);
    } else if (command == "/clear") {
      session_.Clear();
    } else if (command == "/system") {
      session_.SetSystem(rest);
    } else if (command == "/stats") {
      PrintLine(stdout, last_usage_ ? DescribeSpeed(*last_usage_) : "No answer yet.");
    } else if (command == "/show") {
      Show();
    } else if (command == "/set") {
      const size_t gap = rest.find(' ');
      const std::string value = gap == std::string::npos ? "" : rest.substr(gap + 1);
      if (const Status status = SetOption(session_.options(), rest.substr(0, gap), value); !status.ok()) {
        PrintError(status.message());
      }
    } else {
      PrintError(fmt::format("there is no command {}; see /help", command));
    }
    return true;
  }

  void Show() const {
    const ModelInfo& model = session_.model();
    const SamplingParams& s = session_.options().sampling;
    PrintLine(stdout, fmt::format("model       {} ({})", model.id, model.path));
    PrintLine(stdout, fmt::format("size        {} parameters, {}, {}", model.num_parameters, model.quantization,
                                  FormatBytes(model.size_bytes)));
    PrintLine(stdout, fmt::format("context     {} tokens", model.context_length));
    PrintLine(stdout, fmt::format("template    {}", model.chat_template->is_fallback() ? "ChatML (the file has none)"
                                                                                       : "the model's own"));
    PrintLine(stdout, fmt::format("system      {}", session_.system().empty() ? "(none)" : session_.system()));
    PrintLine(stdout, fmt::format("messages    {}", session_.num_messages()));
    PrintLine(stdout,
              fmt::format(
                  "settings    temperature {}, top_k {}, top_p {}, min_p {}, repeat_penalty {}, seed {}, max_tokens {}",
                  s.temperature, s.top_k, s.top_p, s.min_p, s.repetition_penalty,
                  s.seed ? std::to_string(*s.seed) : "random", session_.options().max_tokens));
  }

  ChatSession& session_;
  const std::string history_file_;
  std::optional<Usage> last_usage_;
};

}  // namespace

Status RunRepl(ChatSession& session) { return Repl(session).Run(); }

std::string DescribeSpeed(const Usage& usage) {
  const auto rate = [](double tokens, double ms) { return ms > 0 ? tokens * 1000.0 / ms : 0.0; };
  // The first token of the answer comes out of the prefill.
  return fmt::format("{} prompt tokens at {:.1f} tokens/s, {} answer tokens at {:.1f} tokens/s", usage.prompt_tokens,
                     rate(usage.prompt_tokens, usage.prefill_ms), usage.completion_tokens,
                     rate(std::max(0, usage.completion_tokens - 1), usage.decode_ms));
}

}  // namespace lem
