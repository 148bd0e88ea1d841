#include "http/server.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <deque>
#include <future>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "http/connection.h"
#include "http/listening_socket.h"
#include "http/web_socket_session.h"

namespace lem::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// Connections beyond max_connections that still get a 503; more are closed without a word.
constexpr size_t kMaxRefusing = 256;
// After a failed accept (no file descriptors left): long enough not to spin, short enough to recover at once.
constexpr auto kAcceptRetryDelay = std::chrono::milliseconds(100);
// Descriptors for everything that is not a client's connection: models, logs, listeners, epoll.
constexpr rlim_t kOtherDescriptors = 256;

// Most systems start a process with 1024 descriptors, which is a soft limit that it may raise itself.
void RaiseDescriptorLimit(size_t max_connections) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = std::min<rlim_t>(limit.rlim_max, max_connections + kMaxRefusing + kOtherDescriptors);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = wanted;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) LogWarning("cannot raise the limit of open files to {}", wanted);
}

Status ListenStatus(const error_code& error, const std::string& host, uint16_t port) {
  if (error == asio::error::address_in_use) {
    return AlreadyExists(
        "cannot listen on {}:{}: the port is in use by another program; stop that one or choose another port", host,
        port);
  }
  if (error == asio::error::access_denied) {
    return PermissionDenied(
        "cannot listen on {}:{}: not permitted; ports below 1024 need special rights, choose a "
        "higher one",
        host, port);
  }
  return InvalidArgument("cannot listen on {}:{}: {}; give an address of this machine", host, port, error.message());
}

// For TCP and Unix sockets alike.
using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;

struct Listener {
  explicit Listener(asio::io_context& context) : acceptor(context), retry_timer(context) {}
  Acceptor acceptor;
  asio::steady_timer retry_timer;
  std::string bound_host;
  std::shared_ptr<const TlsContext> tls;      // shared with connections; null: none
  std::optional<UnixSocketFile> unix_socket;  // removed with the listener
};

}  // namespace

struct Server::Impl {
  Impl(ServerOptions options, Router router) : context(std::move(options), std::move(router)) {
    const int num_threads = std::max(1, context.options.num_io_threads);
    for (int i = 0; i < num_threads; ++i) io_threads.push_back(std::make_unique<IoThread>());
  }

  // A listener over a descriptor, which it closes from then on.
  Result<Listener*> Adopt(int fd, int family);
  void Accept(Listener& listener);
  void OnAccept(Listener& listener, IoThread& io_thread, const error_code& error, Socket::Native socket);
  // The connection is counted already.
  void Begin(Socket socket, const Listener& listener, IoThread& io_thread, Admission admission);
  // Runs `task` on every I/O thread and waits for it.
  template <typename Task>
  void OnEachIoThread(Task task);
  void CloseConnections();

  ServerContext context;
  std::vector<std::unique_ptr<IoThread>> io_threads;
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> work_guards;
  std::deque<Listener> listeners;  // their acceptors run on the first I/O thread
  size_t next_io_thread = 0;
  bool started = false;
};

Server::Server(ServerOptions options, Router router) {
  if (!options.error_formatter) options.error_formatter = FormatErrorAsJson;
  impl_ = std::make_unique<Impl>(std::move(options), std::move(router));
}

// NOLINTNEXTLINE(bugprone-exception-escape): threads end or there is no memory, and then there is nothing to be done
Server::~Server() { Stop(); }

Result<uint16_t> Server::Listen(const std::string& host, uint16_t port, std::shared_ptr<const TlsContext> tls) {
  LEM_CHECK(!impl_->started) << "Listen after Start";
  asio::io_context& io = impl_->io_threads.front()->context;
  std::string name = host;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(name, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    return InvalidArgument("cannot listen on '{}': no such host; give an address of this machine or a name for one",
                           host);
  }
  // A name such as localhost has several addresses; clients that know only IPv4 are the larger group.
  tcp::endpoint endpoint = found.begin()->endpoint();
  for (const auto& entry : found) {
    if (entry.endpoint().address().is_v4()) {
      endpoint = entry.endpoint();
      break;
    }
  }
  Listener& listener = impl_->listeners.emplace_back(io);
  const auto try_listen = [&]() -> error_code {
    error_code step;
    (void)listener.acceptor.open(endpoint.protocol(), step);
    if (step) return step;
    (void)listener.acceptor.set_option(Acceptor::reuse_address(true), step);
    if (step) return step;
    // "::" shall serve IPv4 clients too.
    if (endpoint.address().is_v6()) (void)listener.acceptor.set_option(asio::ip::v6_only(false), step);
    (void)listener.acceptor.bind(endpoint, step);
    if (step) return step;
    (void)listener.acceptor.listen(Acceptor::max_listen_connections, step);
    return step;
  };
  if (const error_code failed = try_listen()) {
    impl_->listeners.pop_back();
    return ListenStatus(failed, host, port);
  }
  listener.bound_host = endpoint.address().to_string();
  listener.tls = std::move(tls);
  return PortOf(listener.acceptor.native_handle());
}

Status Server::ListenOnUnixSocket(const std::filesystem::path& path) {
  LEM_CHECK(!impl_->started) << "Listen after Start";
  LEM_ASSIGN_OR_RETURN(UnixSocketFile file, UnixSocketFile::Listen(path));
  LEM_ASSIGN_OR_RETURN(Listener* const listener, impl_->Adopt(file.ReleaseDescriptor(), AF_UNIX));
  listener->bound_host = kUnixSocketHost;
  listener->unix_socket = std::move(file);
  return OkStatus();
}

Result<std::string> Server::ListenOnDescriptor(int fd, std::shared_ptr<const TlsContext> tls) {
  LEM_CHECK(!impl_->started) << "Listen after Start";
  LEM_ASSIGN_OR_RETURN(const ListeningSocket socket, DescribeListeningSocket(fd));
  LEM_ASSIGN_OR_RETURN(Listener* const listener, impl_->Adopt(fd, socket.family));
  listener->bound_host = socket.family == AF_UNIX ? std::string(kUnixSocketHost) : socket.host;
  if (socket.family != AF_UNIX) listener->tls = std::move(tls);
  return socket.name;
}

Status Server::Start() {
  LEM_CHECK(!impl_->started && !impl_->listeners.empty()) << "Start once, after Listen";
  RaiseDescriptorLimit(impl_->context.options.max_connections);
  impl_->started = true;
  for (auto& io_thread : impl_->io_threads) {
    impl_->work_guards.emplace_back(io_thread->context.get_executor());
    io_thread->thread = std::thread([&io = io_thread->context] { io.run(); });
  }
  asio::post(impl_->io_threads.front()->context, [impl = impl_.get()] {
    for (Listener& listener : impl->listeners) impl->Accept(listener);
  });
  return OkStatus();
}

Result<Listener*> Server::Impl::Adopt(int fd, int family) {
  Listener& listener = listeners.emplace_back(io_threads.front()->context);
  error_code error;
  (void)listener.acceptor.assign(asio::generic::stream_protocol(family, 0), fd, error);
  if (!error) return &listener;
  ::close(fd);
  listeners.pop_back();
  return Internal("cannot wait for connections on descriptor {}: {}", fd, error.message());
}

void Server::Impl::Accept(Listener& listener) {
  IoThread& io_thread = *io_threads[next_io_thread++ % io_threads.size()];
  listener.acceptor.async_accept(io_thread.context,
                                 [this, &listener, &io_thread](const error_code& error, Socket::Native socket) {
                                   OnAccept(listener, io_thread, error, std::move(socket));
                                 });
}

void Server::Impl::OnAccept(Listener& listener, IoThread& io_thread, const error_code& error, Socket::Native socket) {
  if (!listener.acceptor.is_open()) return;
  if (error) {
    LogWarning("cannot accept a connection: {}", error.message());
    listener.retry_timer.expires_after(kAcceptRetryDelay);
    listener.retry_timer.async_wait([this, &listener](const error_code& cancelled) {
      if (!cancelled && listener.acceptor.is_open()) Accept(listener);
    });
    return;
  }
  size_t num_open = 0;
  {
    const std::lock_guard lock(context.mutex);
    num_open = context.num_connections;
    if (num_open < context.options.max_connections + kMaxRefusing) ++context.num_connections;
  }
  if (num_open < context.options.max_connections + kMaxRefusing) {
    const Admission admission = num_open < context.options.max_connections ? Admission::kServe : Admission::kRefuse;
    error_code ignored;
    (void)socket.non_blocking(true, ignored);
    (void)socket.set_option(tcp::no_delay(true), ignored);
    (void)socket.set_option(asio::socket_base::keep_alive(true),
                            ignored);  // finds clients that vanished without a word
    Begin(Socket(std::move(socket)), listener, io_thread, admission);
  }
  Accept(listener);
}

void Server::Impl::Begin(Socket socket, const Listener& listener, IoThread& io_thread, Admission admission) {
  if (listener.tls != nullptr) {
    if (const Status begun = socket.StartTls(listener.tls); !begun.ok()) {
      LogWarning("cannot take a connection: {}", begun.message());
      return context.ConnectionClosed();
    }
  }
  auto connection = std::make_shared<Connection>(context, io_thread, std::move(socket), listener.bound_host, admission);
  asio::post(io_thread.context, [&io_thread, connection = std::move(connection)] {
    io_thread.connections.insert(connection);
    connection->Start();
  });
}

template <typename Task>
void Server::Impl::OnEachIoThread(Task task) {
  for (auto& io_thread : io_threads) {
    std::promise<void> done;
    asio::post(io_thread->context, [&] {
      task(*io_thread);
      done.set_value();
    });
    done.get_future().wait();
  }
}

void Server::Impl::CloseConnections() {
  OnEachIoThread([](IoThread& io_thread) {
    // Closing takes a connection out of the set.
    const auto connections = io_thread.connections;
    for (const auto& connection : connections) connection->Abort();
    const auto web_sockets = io_thread.web_sockets;
    for (const auto& web_socket : web_sockets) web_socket->Abort();
  });
}

void Server::Drain(std::chrono::steady_clock::time_point deadline) {
  if (!impl_->started) return;
  impl_->started = false;
  ServerContext& context = impl_->context;
  context.draining->store(true, std::memory_order_relaxed);
  // The first thread accepts: once it has closed the listeners, every accepted connection has been posted.
  impl_->OnEachIoThread([this](IoThread& io_thread) {
    if (&io_thread != impl_->io_threads.front().get()) return;
    for (Listener& listener : impl_->listeners) {
      error_code ignored;
      (void)listener.acceptor.close(ignored);
      listener.unix_socket.reset();
      listener.retry_timer.cancel();
    }
  });
  impl_->OnEachIoThread([](IoThread& io_thread) {
    const auto connections = io_thread.connections;
    for (const auto& connection : connections) connection->BeginDrain();
    const auto web_sockets = io_thread.web_sockets;
    for (const auto& web_socket : web_sockets) web_socket->BeginDrain();
  });
  {
    std::unique_lock lock(context.mutex);
    context.connection_closed.wait_until(lock, deadline, [&] { return context.num_connections == 0; });
  }
  impl_->CloseConnections();
  context.workers.Stop();
  impl_->work_guards.clear();
  for (auto& io_thread : impl_->io_threads) io_thread->context.stop();
  for (auto& io_thread : impl_->io_threads) io_thread->thread.join();
}

void Server::Stop() { Drain(std::chrono::steady_clock::now()); }

bool Server::Responds(std::chrono::milliseconds patience) const {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (const auto& io_thread : impl_->io_threads) {
    const auto done = std::make_shared<std::promise<void>>();  // shared with a thread that may come too late
    asio::post(io_thread->context, [done] { done->set_value(); });
    if (done->get_future().wait_until(deadline) != std::future_status::ready) return false;
  }
  return true;
}

size_t Server::num_connections() const {
  const std::lock_guard lock(impl_->context.mutex);
  return impl_->context.num_connections;
}

const Router& Server::router() const { return impl_->context.router; }

}  // namespace lem::http
