// Fetching from other machines over HTTP(S), for downloads and small documents (libcurl underneath). Each call blocks
// its own thread; calls in several threads at once are fine.
//
// Always: only http and https; certificates are checked (own authorities by SSL_CERT_FILE, CURL_CA_BUNDLE,
// REQUESTS_CA_BUNDLE or PIP_CERT, the first that is set); proxies as http_proxy, https_proxy and no_proxy say; a
// redirect to another origin gets no credentials, one from https to http is refused. Messages name the host and never
// show credentials or query strings.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "base/status.h"
#include "http/message.h"

namespace lem::http {

struct TransferProgress {
  uint64_t done_bytes = 0;              // of the whole, including what a resumed download had
  std::optional<uint64_t> total_bytes;  // if the server said
};

struct FetchOptions {
  Headers headers;            // sent to every origin on the way
  std::string authorization;  // "Bearer ..."; sent only to the origin of the first URL; "" = none
  int max_redirects = 5;
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(15);  // name, TCP and TLS
  // Broken off when fewer bytes a second than this arrive for low_speed_time.
  int low_speed_bytes_per_s = 100;
  std::chrono::seconds low_speed_time = std::chrono::seconds(30);
  std::chrono::milliseconds total_timeout{0};  // of each request; 0 = none
  uint64_t max_bytes = 16 << 20;               // of the body, after decompression
  std::stop_token stop;                        // ends the call with Cancelled within a second
  // Called by the calling thread at most some 20 times a second, and at the end. May be empty.
  std::function<void(const TransferProgress&)> on_progress;
};

struct FetchedBody {
  Headers headers;
  std::string body;
  std::string url;  // where it was found after redirects
};

// GETs a document into memory. Errors: InvalidArgument (URL), NotFound (404, 410), Unauthenticated (401),
// PermissionDenied (403), ResourceExhausted (429, or larger than max_bytes), DeadlineExceeded (too slow), Cancelled,
// Unavailable (no connection, TLS, broken off, 5xx), Unknown (any other status, too many redirects).
Result<FetchedBody> Fetch(const std::string& url, const FetchOptions& options = {});

struct DownloadedFile {
  uint64_t size_bytes = 0;
  uint64_t resumed_from = 0;  // bytes that an earlier, broken-off download had left
  std::string url;            // where it was found after redirects
};

// GETs a file into `part_path`. Broken off, it leaves what it has there, and beside it "<part_path>.resume" (the
// server's validator); the next call goes on from it if the server still has the same file (Range with If-Range), and
// else starts anew. When it succeeds the file is whole and on the disk, the .resume file is gone, and the caller checks
// the hash and renames. One call a path at a time. max_bytes bounds the whole file. Errors: as Fetch, and
// ResourceExhausted (disk full), Internal (disk).
Result<DownloadedFile> Download(const std::string& url, const std::filesystem::path& part_path,
                                const FetchOptions& options);

}  // namespace lem::http
