// lem serve: the HTTP server over one or more models of this machine.
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <map>
#include <memory>
#include <thread>

#include "apps/lem/commands.h"
#include "apps/lem/listening.h"
#include "apps/lem/model_argument.h"
#include "apps/lem/service_manager.h"
#include "apps/lem/terminal.h"
#include "base/file.h"
#include "http/signals.h"
#include "runtime/config.h"
#include "runtime/local_service.h"
#include "server/api_server.h"

namespace lem {
namespace {

// As long as service managers commonly wait before they kill.
constexpr auto kDrainTime = std::chrono::seconds(10);
// As the configuration says that there is no such file.
constexpr std::string_view kNoFile = "none";

struct ServeFlag {
  const char* name;
  const char* key;  // of the configuration
};
constexpr ServeFlag kConfigFlags[] = {
    {"--model", "server.models"},
    {"--host", "server.host"},
    {"--port", "server.port"},
    {"--alias", "server.aliases"},
    {"--ollama-port", "server.ollama_port"},
    {"--unix", "server.unix_socket"},
    {"--tls-cert", "server.tls_certificate"},
    {"--tls-key", "server.tls_key"},
    {"--tls-generate", "server.tls_generate"},
    {"--offline", "server.offline"},
    {"--api-keys", "server.api_keys"},
    {"--audit-log", "server.audit_log"},
    {"--allow-host", "server.allowed_hosts"},
    {"--allow-origin", "server.allowed_origins"},
    {"--threads", "engine.threads"},
    {"--context-length", "engine.context_length"},
    {"--kv-cache-bytes", "engine.kv_cache_bytes"},
    {"--placement", "engine.placement"},
    {"--objective", "engine.objective"},
    {"--device", "engine.devices"},
    {"--deterministic", "engine.deterministic"},
    {"--admission", "engine.admission"},
    {"--prefix-file-bytes", "engine.prefix_file_bytes"},
    {"--memory-bytes", "engine.memory_bytes"},
    {"--keep-alive", "engine.keep_alive_s"},
    {"--log-level", "log.level"},
};

struct ServeFlags {
  std::map<std::string, std::vector<std::string>> values;  // of kConfigFlags, by name
  std::string config_file;
  bool allow_remote = false;
};

Result<Config> ReadConfig(const ServeFlags& flags) {
  std::vector<ConfigFlag> given;
  for (const ServeFlag& flag : kConfigFlags) {
    const auto found = flags.values.find(flag.name);
    if (found != flags.values.end() && !found->second.empty()) given.push_back({flag.key, flag.name, found->second});
  }
  std::optional<std::filesystem::path> file;
  if (!flags.config_file.empty()) file = flags.config_file;
  return LoadConfig(file, given);
}

Result<std::vector<ModelSource>> ModelsInFolder(const std::filesystem::path& folder) {
  std::vector<ModelSource> models;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".gguf") models.push_back({it->path().stem().string(), it->path()});
  }
  if (error) return PermissionDenied("folder {} cannot be read: {}", folder.string(), error.message());
  if (models.empty()) return NotFound("folder {} holds no .gguf file", folder.string());
  std::ranges::sort(models, {}, &ModelSource::id);
  return models;
}

// Everything in the store that is as it was pulled.
Result<std::vector<ModelSource>> StoredModels(ModelStore& store) {
  LEM_ASSIGN_OR_RETURN(const std::vector<StoredModel> stored, store.List());
  std::vector<ModelSource> models;
  models.reserve(stored.size());
  for (const StoredModel& model : stored) {
    if (store.StateOf(model) != FileState::kIntact) {
      const Result<ModelRef> checked = store.Resolve(model.name);
      if (!checked.ok()) {
        LogWarning("{} is not served: {}", model.name, checked.status().message());
        continue;
      }
    }
    // One is ready at once, of many nobody knows which.
    models.push_back({model.name, store.PathOf(model), stored.size() == 1});
  }
  return models;
}

// What is pulled and removed while the server runs, by whichever process.
ListModels WatchStore(ModelStore& store) {
  return [&store, seen = int64_t{-1}]() mutable -> std::optional<std::vector<ModelSource>> {
    const int64_t stamp = store.ChangeStamp();
    if (stamp == seen) return std::nullopt;
    Result<std::vector<ModelSource>> models = StoredModels(store);
    if (!models.ok()) return std::nullopt;
    seen = stamp;
    return *std::move(models);
  };
}

Result<std::vector<ModelSource>> FindModels(ModelStore& store, const std::vector<std::string>& names, bool offline) {
  if (names.empty()) return StoredModels(store);
  std::vector<ModelSource> models;
  for (const std::string& name : names) {
    if (std::error_code error; std::filesystem::is_directory(name, error)) {
      LEM_ASSIGN_OR_RETURN(const std::vector<ModelSource> found, ModelsInFolder(name));
      models.insert(models.end(), found.begin(), found.end());
    } else {
      LEM_ASSIGN_OR_RETURN(const ModelRef ref, offline ? store.Resolve(name) : ResolveOrPull(name));
      models.push_back({ref.id, ref.path});
    }
  }
  std::map<std::string, std::string> paths;
  for (const ModelSource& model : models) {
    const auto [known, is_new] = paths.emplace(model.id, model.path.string());
    if (!is_new) {
      return InvalidArgument("{} and {} would both be served as '{}'; name one of them, or rename a file",
                             known->second, model.path.string(), model.id);
    }
  }
  return models;
}

// Says when the models are ready. If none of them can be loaded the server is of no use: it is ended as a signal would
// end it.
class LoadWatch {
 public:
  explicit LoadWatch(LocalService& service) : service_(service), thread_([this] { Watch(); }) {}
  bool failed() const { return failed_.load(); }
  // Waits for the end of loading. The error if no model was loaded.
  Status Join() {
    thread_.join();
    return failed() ? std::move(error_) : OkStatus();
  }

 private:
  void Watch() {
    const auto begin = std::chrono::steady_clock::now();
    error_ = service_.WaitUntilLoaded();
    const std::vector<ModelInfo> models = service_.Models();
    const auto num_ready = std::ranges::count(models, ModelState::kReady, &ModelInfo::state);
    if (num_ready == 0 && !error_.ok()) {
      failed_.store(true);
      ::kill(::getpid(), SIGTERM);
      return;
    }
    for (const ModelInfo& model : models) {
      if (!model.error.ok()) LogError("{}", model.error.message());
    }
    if (models.empty()) return LogInfo("there are no models yet: run `lem pull smollm2:135m`, say");
    LogInfo("{} of {} models ready after {:.1f} s, {} wait until they are asked for", num_ready, models.size(),
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
            std::ranges::count(models, ModelState::kUnloaded, &ModelInfo::state));
  }

  LocalService& service_;
  Status error_;
  std::atomic<bool> failed_{false};
  std::thread thread_;
};

Status Serve(const ServeFlags& flags) {
  // Before any thread starts, so that all of them leave the signals to Wait.
  const http::TerminationSignals signals;
  LEM_ASSIGN_OR_RETURN(const Config config, ReadConfig(flags));
  SetLogLevel(config.log.level);
  const std::vector<int> handed_over = TakeListeningDescriptors();
  const Listening listening(config.server, handed_over);
  LEM_TRY(listening.Check(flags.allow_remote || config.server.api_keys != kNoFile));
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelStore> store, ModelStore::Open());
  LocalServiceOptions service_options;
  LEM_ASSIGN_OR_RETURN(service_options.models, FindModels(*store, config.server.models, config.server.offline));
  if (config.server.models.empty()) service_options.list_models = WatchStore(*store);
  service_options.num_threads = static_cast<int32_t>(config.engine.threads);
  service_options.engine.context_length = config.engine.context_length;
  service_options.engine.kv_cache_bytes = static_cast<uint64_t>(config.engine.kv_cache_bytes);
  LEM_TRY(SetPlacement({config.engine.placement, config.engine.objective, config.engine.devices}, service_options));
  service_options.engine.deterministic = config.engine.deterministic;
  service_options.engine.cache_prefixes = config.engine.cache_prefixes;
  service_options.engine.prefix_file_bytes = static_cast<uint64_t>(config.engine.prefix_file_bytes);
  if (config.engine.speculate) service_options.engine.speculation = EngineOptions::Speculation::kWherePaying;
  LEM_ASSIGN_OR_RETURN(service_options.scheduler.policy, ParseAdmissionPolicy(config.engine.admission));
  service_options.memory_bytes = static_cast<uint64_t>(config.engine.memory_bytes);
  service_options.keep_alive = std::chrono::seconds(config.engine.keep_alive_s);
  service_options.cache_folder = CacheDir();
  ApiServerOptions server_options;
  server_options.store = store.get();
  server_options.offline = config.server.offline;
  std::unique_ptr<ApiKeys> keys;
  if (config.server.api_keys != kNoFile) {
    LEM_ASSIGN_OR_RETURN(keys, ApiKeys::Load(config.server.api_keys));
  }
  server_options.keys = keys.get();
  std::unique_ptr<AuditLog> audit;
  if (config.server.audit_log != kNoFile) {
    LEM_ASSIGN_OR_RETURN(audit, AuditLog::Open(config.server.audit_log));
  }
  server_options.audit = audit.get();
  LEM_ASSIGN_OR_RETURN(server_options.aliases, ModelAliases::Parse(config.server.aliases));
  server_options.http.access = {config.server.allowed_hosts, config.server.allowed_origins};
  server_options.http.limits.max_body_bytes = static_cast<uint64_t>(config.server.max_body_bytes);
  server_options.ollama_port = static_cast<uint16_t>(config.server.ollama_port);
  server_options.http.max_connections = static_cast<size_t>(config.server.max_connections);

  // The port first: a port in use is said at once, and early clients are told that models are loading.
  LocalService service(std::move(service_options));
  ApiServer server(service, std::move(server_options));
  LEM_ASSIGN_OR_RETURN(const std::vector<std::string> places, listening.Start(server));
  LEM_TRY(server.Start());
  PrintLine(stdout, fmt::format("Listening on {}", fmt::join(places, ", ")));
  std::fflush(stdout);
  const Watchdog watchdog([&server](std::chrono::milliseconds patience) { return server.Responds(patience); });
  NotifyServiceManager("READY=1");

  LoadWatch load_watch(service);
  signals.Wait();
  NotifyServiceManager("STOPPING=1");
  if (!load_watch.failed())
    LogInfo("ending: requests under way have {} s; a second signal ends at once", kDrainTime.count());
  std::atomic<bool> drained{false};
  std::thread impatience([&] {
    const int signal = signals.Wait();
    if (!drained.load()) ::_exit(128 + signal);
  });
  server.Drain(std::chrono::steady_clock::now() + kDrainTime);
  drained.store(true);
  // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread): every thread blocks it; it only ends the wait above.
  ::pthread_kill(impatience.native_handle(), SIGTERM);
  impatience.join();
  return load_watch.Join();
}

}  // namespace

void RegisterServe(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ServeFlags>();  // shared by the parser and the action
  CLI::App* command = app.add_subcommand("serve", "Serve models over HTTP (OpenAI's, Anthropic's and Ollama's APIs)");
  for (const ServeFlag& flag : kConfigFlags) {
    const auto key = std::ranges::find(ConfigKeys(), std::string_view(flag.key), &ConfigKey::name);
    Config scratch;
    if (std::holds_alternative<bool*>(key->target(scratch))) {
      std::vector<std::string>& values = flags->values[flag.name];
      command->add_flag_callback(flag.name, [&values] { values = {"true"}; }, std::string(key->meaning));
      continue;
    }
    CLI::Option* option = command->add_option(flag.name, flags->values[flag.name], std::string(key->meaning));
    option->allow_extra_args(false);
    if (!std::holds_alternative<std::vector<std::string>*>(key->target(scratch))) option->expected(1);
  }
  command->add_option("--config", flags->config_file, "Configuration file, instead of lem.toml in the usual place");
  command->add_flag("--allow-remote", flags->allow_remote,
                    "Allow an address that other machines can reach, without keys");
  command->callback([flags, &action] { action = [flags] { return Finish(Serve(*flags)); }; });
}

}  // namespace lem
