#include "http/client.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "base/checked_math.h"
#include "base/file.h"
#include "http/uri.h"

namespace lem::http {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Fields of one response that are kept; more come only from a server that means harm.
constexpr size_t kMaxHeaders = 200;
constexpr auto kProgressInterval = std::chrono::milliseconds(50);
// A validator is a short token or a date.
constexpr size_t kMaxValidatorBytes = 1024;

struct CurlDeleter {
  void operator()(CURL* handle) const { ::curl_easy_cleanup(handle); }
  void operator()(CURLU* url) const { ::curl_url_cleanup(url); }
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
  void operator()(char* text) const { ::curl_free(text); }
};
template <typename T>
using CurlPtr = std::unique_ptr<T, CurlDeleter>;

// What the rules about redirects and messages need to know of a URL.
struct UrlParts {
  std::string scheme;
  std::string host;    // with the port if one was given; no credentials
  std::string origin;  // scheme, host, port: where credentials belong
  std::string shown;   // for messages: no credentials, no query
};

std::string UrlPart(CURLU* url, CURLUPart part, unsigned int flags = 0) {
  char* text = nullptr;
  if (::curl_url_get(url, part, &text, flags) != CURLUE_OK) return "";
  return CurlPtr<char>(text).get();
}

Result<UrlParts> SplitUrl(const std::string& text) {
  const CurlPtr<CURLU> url(::curl_url());
  if (url == nullptr || ::curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return InvalidArgument("not a URL that can be fetched; give one like https://host/path");
  }
  UrlParts parts;
  parts.scheme = UrlPart(url.get(), CURLUPART_SCHEME);
  if (parts.scheme != "http" && parts.scheme != "https") {
    return InvalidArgument("a URL with scheme '{}' is not fetched; only http and https are", parts.scheme);
  }
  const std::string port = UrlPart(url.get(), CURLUPART_PORT);
  parts.host = UrlPart(url.get(), CURLUPART_HOST) + (port.empty() ? "" : ":" + port);
  parts.origin = fmt::format("{}://{}:{}", parts.scheme, UrlPart(url.get(), CURLUPART_HOST),
                             UrlPart(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT));
  parts.shown = parts.scheme + "://" + parts.host + UrlPart(url.get(), CURLUPART_PATH);
  return parts;
}

// Where a response's body goes. Called in this order: OnHead once, before the first byte of a 2xx body; then OnData.
class BodySink {
 public:
  virtual ~BodySink() = default;
  virtual Status OnHead(int status, const Headers& headers, std::optional<uint64_t> length) = 0;
  virtual Status OnData(std::string_view data) = 0;
  virtual TransferProgress progress() const = 0;
};

// One request and its response, without following redirects.
class Transfer {
 public:
  Transfer(const UrlParts& url, const FetchOptions& options, BodySink& sink)
      : url_(url), options_(options), sink_(sink), handle_(::curl_easy_init()) {}

  // Returns when the response is complete, whatever its status.
  Status Run(const std::string& url, const Headers& headers, const char* accept_encoding);

  int status() const { return static_cast<int>(status_); }
  const Headers& headers() const { return headers_; }
  // Absolute target of a redirect, or "".
  const std::string& redirect_url() const { return redirect_url_; }

 private:
  static size_t OnHeaderLine(char* data, size_t, size_t size, void* self) {
    static_cast<Transfer*>(self)->AddHeaderLine({data, size});
    return size;
  }
  static size_t OnBody(char* data, size_t, size_t size, void* self) {
    return static_cast<Transfer*>(self)->TakeBody({data, size}) ? size : CURL_WRITEFUNC_ERROR;
  }
  static int OnTick(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Transfer*>(self)->Tick() ? 0 : 1;
  }

  void AddHeaderLine(std::string_view line);
  bool TakeBody(std::string_view data);
  bool Tick();
  Status BeginBody();
  void SetOptions(const std::string& url, const char* accept_encoding);
  Status ToStatus(CURLcode code) const;

  const UrlParts& url_;
  const FetchOptions& options_;
  BodySink& sink_;
  const CurlPtr<CURL> handle_;
  char error_text_[CURL_ERROR_SIZE] = "";
  long status_ = 0;
  Headers headers_;
  std::string redirect_url_;
  bool body_begun_ = false;
  Status sink_status_;
  Clock::time_point last_progress_;
};

void Transfer::AddHeaderLine(std::string_view line) {
  // Interim responses and those of proxies come first: the last head counts.
  if (line.starts_with("HTTP/")) headers_ = {};
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || headers_.size() >= kMaxHeaders) return;
  std::string_view value = line.substr(colon + 1);
  while (value.ends_with('\n') || value.ends_with('\r')) value.remove_suffix(1);
  headers_.Add(std::string(line.substr(0, colon)), std::string(TrimSpace(value)));
}

Status Transfer::BeginBody() {
  body_begun_ = true;
  ::curl_easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &status_);
  curl_off_t length = -1;
  ::curl_easy_getinfo(handle_.get(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  // With a content coding the length is that of the compressed bytes.
  const bool coded = headers_.Find("Content-Encoding") != nullptr;
  if (status_ < 200 || status_ > 299) return OkStatus();
  return sink_.OnHead(static_cast<int>(status_), headers_,
                      length >= 0 && !coded ? std::optional<uint64_t>(length) : std::nullopt);
}

bool Transfer::TakeBody(std::string_view data) {
  if (!body_begun_) sink_status_ = BeginBody();
  const bool wanted = status_ >= 200 && status_ <= 299;  // the text of a refusal is of no use
  if (sink_status_.ok() && wanted) sink_status_ = sink_.OnData(data);
  return sink_status_.ok();
}

bool Transfer::Tick() {
  if (options_.stop.stop_requested()) return false;
  const Clock::time_point now = Clock::now();
  if (options_.on_progress && body_begun_ && now - last_progress_ >= kProgressInterval) {
    last_progress_ = now;
    options_.on_progress(sink_.progress());
  }
  return true;
}

void Transfer::SetOptions(const std::string& url, const char* accept_encoding) {
  CURL* curl = handle_.get();
  ::curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  ::curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);  // redirects are followed one by one, under our rules
  ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_text_);
  ::curl_easy_setopt(curl, CURLOPT_USERAGENT, "lemonade");
  if (accept_encoding != nullptr) ::curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, accept_encoding);
  ::curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
  ::curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(options_.total_timeout.count()));
  ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(options_.low_speed_bytes_per_s));
  ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.low_speed_time.count()));
  ::curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::OnHeaderLine);
  ::curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
  ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::OnBody);
  ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
  ::curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  ::curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Transfer::OnTick);
  ::curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
  for (const char* variable : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT"}) {
    const char* path = std::getenv(variable);
    if (path == nullptr || path[0] == '\0') continue;
    std::error_code ignored;
    ::curl_easy_setopt(curl, fs::is_directory(path, ignored) ? CURLOPT_CAPATH : CURLOPT_CAINFO, path);
    break;
  }
}

Status Transfer::Run(const std::string& url, const Headers& headers, const char* accept_encoding) {
  if (handle_ == nullptr) return Internal("cannot set up a transfer");
  SetOptions(url, accept_encoding);
  CurlPtr<curl_slist> list;
  for (const auto& [name, value] : headers) {
    // A value with a line break would become further fields.
    if (!IsToken(name) || value.find_first_of("\r\n") != std::string::npos || value.find('\0') != std::string::npos) {
      return InvalidArgument("header field '{}' of a request to {} is malformed", name, url_.host);
    }
    curl_slist* longer = ::curl_slist_append(list.get(), fmt::format("{}: {}", name, value).c_str());
    if (longer == nullptr) return ResourceExhausted("no memory for a request to {}", url_.host);
    static_cast<void>(list.release());
    list.reset(longer);
  }
  ::curl_easy_setopt(handle_.get(), CURLOPT_HTTPHEADER, list.get());
  const CURLcode code = ::curl_easy_perform(handle_.get());
  if (code == CURLE_OK && !body_begun_) sink_status_ = BeginBody();
  if (!sink_status_.ok()) return sink_status_;
  if (code != CURLE_OK) return ToStatus(code);
  char* location = nullptr;
  ::curl_easy_getinfo(handle_.get(), CURLINFO_REDIRECT_URL, &location);
  if (location != nullptr) redirect_url_ = location;
  if (options_.on_progress && status_ >= 200 && status_ <= 299) options_.on_progress(sink_.progress());
  return OkStatus();
}

Status Transfer::ToStatus(CURLcode code) const {
  const char* detail = error_text_[0] != '\0' ? error_text_ : ::curl_easy_strerror(code);
  switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
      return Cancelled("the transfer from {} was cancelled", url_.host);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return Unavailable("cannot reach {}: {}; check the network and the proxy settings", url_.host, detail);
    case CURLE_OPERATION_TIMEDOUT:
      return DeadlineExceeded("{} is too slow: {}; try again later", url_.host, detail);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return Unavailable(
          "{} has no certificate that is trusted here: {}; if it is signed by your own authority, name that file in "
          "SSL_CERT_FILE",
          url_.host, detail);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return InvalidArgument("cannot fetch {}: {}", url_.shown, detail);
    case CURLE_BAD_CONTENT_ENCODING:
      return DataLoss("{} sent a body that cannot be decompressed: {}", url_.host, detail);
    default:
      return Unavailable("the transfer from {} broke off: {}; try again", url_.host, detail);
  }
}

Status HttpStatusError(int status, const UrlParts& url) {
  const std::string text = fmt::format("{} answered {} {}", url.shown, status, StatusPhrase(status));
  switch (status) {
    case 401:
      return Unauthenticated("{}; give valid credentials", text);
    case 403:
      return PermissionDenied("{}", text);
    case 404:
    case 410:
      return NotFound("{}", text);
    case 408:
      return Unavailable("{}; try again", text);
    case 429:
      return ResourceExhausted("{}; try again later", text);
    default:
      return status >= 500 ? Unavailable("{}; try again later", text) : Unknown("{}", text);
  }
}

struct Answer {
  int status = 0;
  Headers headers;
  std::string url;
};

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Follows redirects to the first other answer. Statuses other than 2xx and `also_wanted` are errors.
Result<Answer> Get(const std::string& url, const FetchOptions& options, const Headers& extra_headers,
                   const char* accept_encoding, int also_wanted, BodySink& sink) {
  // Thread-safe by the rule for function-local statics.
  static const CURLcode global = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (global != CURLE_OK) return Internal("cannot set up libcurl: {}", ::curl_easy_strerror(global));
  std::string current = url;
  std::string first_origin;
  UrlParts last;
  for (int hop = 0; hop <= options.max_redirects; ++hop) {
    LEM_ASSIGN_OR_RETURN(const UrlParts parts, SplitUrl(current));
    if (hop == 0) first_origin = parts.origin;
    if (last.scheme == "https" && parts.scheme == "http") {
      return Unknown("{} redirects to {}, which is not encrypted; not followed", last.shown, parts.shown);
    }
    last = parts;
    Headers headers = options.headers;
    for (const auto& [name, value] : extra_headers) headers.Add(name, value);
    if (!options.authorization.empty() && parts.origin == first_origin) {
      headers.Add("Authorization", options.authorization);
    }
    Transfer transfer(parts, options, sink);
    LEM_TRY(transfer.Run(current, headers, accept_encoding));
    const int status = transfer.status();
    if (IsRedirect(status) && !transfer.redirect_url().empty()) {
      current = transfer.redirect_url();
      continue;
    }
    if ((status < 200 || status > 299) && status != also_wanted) return HttpStatusError(status, parts);
    return Answer{status, transfer.headers(), current};
  }
  return Unknown("{} is the end of more than {} redirects; not followed further", last.shown, options.max_redirects);
}

Status TooLarge(uint64_t max_bytes) {
  return ResourceExhausted("the answer is larger than the {} bytes allowed", max_bytes);
}

class MemorySink final : public BodySink {
 public:
  explicit MemorySink(uint64_t max_bytes) : max_bytes_(max_bytes) {}
  Status OnHead(int, const Headers&, std::optional<uint64_t> length) override {
    total_ = length;
    return length.value_or(0) > max_bytes_ ? TooLarge(max_bytes_) : OkStatus();
  }
  Status OnData(std::string_view data) override {
    if (!RangeFits(body.size(), data.size(), max_bytes_)) return TooLarge(max_bytes_);
    body += data;
    return OkStatus();
  }
  TransferProgress progress() const override { return {body.size(), total_}; }

  std::string body;

 private:
  const uint64_t max_bytes_;
  std::optional<uint64_t> total_;
};

// "bytes 100-199/200": first byte and total.
std::optional<std::pair<uint64_t, uint64_t>> ParseContentRange(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  uint64_t numbers[3] = {};  // first, last, total
  constexpr std::string_view kAfter[3] = {"-", "/", ""};
  for (int i = 0; i < 3; ++i) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), numbers[i]);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (!text.starts_with(kAfter[i])) return std::nullopt;
    text.remove_prefix(kAfter[i].size());
  }
  if (!text.empty() || numbers[0] > numbers[1] || numbers[1] >= numbers[2]) return std::nullopt;
  return std::pair(numbers[0], numbers[2]);
}

// What identifies this very version of the file: a strong ETag or, failing that, the date of the last change.
std::string Validator(const Headers& headers) {
  const std::string_view etag = headers.Get("ETag");
  const std::string_view validator = etag.starts_with('"') ? etag : headers.Get("Last-Modified");
  return validator.size() <= kMaxValidatorBytes ? std::string(validator) : "";
}

// Appends to the part file, or starts it anew if the server sends the whole.
class FileSink final : public BodySink {
 public:
  FileSink(fs::path part_path, fs::path resume_path, uint64_t resume_from, uint64_t max_bytes)
      : part_path_(std::move(part_path)),
        resume_path_(std::move(resume_path)),
        resume_from_(resume_from),
        max_bytes_(max_bytes) {}

  Status OnHead(int status, const Headers& headers, std::optional<uint64_t> length) override {
    if (status == 206) {
      const auto range = ParseContentRange(headers.Get("Content-Range"));
      if (resume_from_ == 0 || !range || range->first != resume_from_) {
        return Unavailable("the server sent '{}' for a download that goes on at byte {}; try again",
                           headers.Get("Content-Range"), resume_from_);
      }
      total_ = range->second;
    } else {
      resume_from_ = 0;
      total_ = length;
    }
    if (total_.value_or(0) > max_bytes_) return TooLarge(max_bytes_);
    LEM_ASSIGN_OR_RETURN(OutputFile file, OutputFile::Open(part_path_, resume_from_ > 0 ? OutputFile::Mode::kAppend
                                                                                        : OutputFile::Mode::kTruncate));
    file_.emplace(std::move(file));
    if (file_->size_bytes() != resume_from_) {
      return Aborted("{} has changed while it was being downloaded; try again", part_path_.string());
    }
    return resume_from_ > 0 ? OkStatus() : WriteFileAtomic(resume_path_, Validator(headers));
  }
  Status OnData(std::string_view data) override {
    if (!RangeFits(file_->size_bytes(), data.size(), max_bytes_)) {
      // What is there is no part of the wanted file: the next download begins anew.
      std::error_code ignored;
      fs::remove(resume_path_, ignored);
      return TooLarge(max_bytes_);
    }
    return file_->Write(data);
  }
  TransferProgress progress() const override { return {file_ ? file_->size_bytes() : 0, total_}; }

  // REQUIRES: the transfer succeeded.
  Result<uint64_t> Finish() {
    if (total_ && file_->size_bytes() != *total_) {
      return Unavailable("{} bytes of {} came; try again", file_->size_bytes(), *total_);
    }
    LEM_TRY(file_->Sync());
    return file_->size_bytes();
  }
  uint64_t resumed_from() const { return resume_from_; }

 private:
  const fs::path part_path_;
  const fs::path resume_path_;
  uint64_t resume_from_;
  const uint64_t max_bytes_;
  std::optional<uint64_t> total_;
  std::optional<OutputFile> file_;
};

}  // namespace

Result<FetchedBody> Fetch(const std::string& url, const FetchOptions& options) {
  MemorySink sink(options.max_bytes);
  // "" asks for every coding that libcurl can undo.
  LEM_ASSIGN_OR_RETURN(Answer answer, Get(url, options, {}, "", 0, sink));
  return FetchedBody{std::move(answer.headers), std::move(sink.body), std::move(answer.url)};
}

Result<DownloadedFile> Download(const std::string& url, const fs::path& part_path, const FetchOptions& options) {
  constexpr int kRangeNotSatisfiable = 416;
  const fs::path resume_path = part_path.string() + ".resume";
  std::error_code ignored;
  const Result<std::string> validator = ReadFile(resume_path, kMaxValidatorBytes);
  const uintmax_t part_size = fs::is_regular_file(part_path, ignored) ? fs::file_size(part_path, ignored) : 0;
  const bool can_resume = validator.ok() && !validator->empty() && !ignored && part_size > 0;
  uint64_t resume_from = can_resume ? part_size : 0;
  for (;;) {
    Headers range;
    if (resume_from > 0) range = {{"Range", fmt::format("bytes={}-", resume_from)}, {"If-Range", *validator}};
    FileSink sink(part_path, resume_path, resume_from, options.max_bytes);
    LEM_ASSIGN_OR_RETURN(Answer answer, Get(url, options, range, nullptr, kRangeNotSatisfiable, sink));
    uint64_t size = 0;
    if (answer.status != kRangeNotSatisfiable) {
      LEM_ASSIGN_OR_RETURN(size, sink.Finish());
    } else if (resume_from > 0 && answer.headers.Get("Content-Range") == fmt::format("bytes */{}", resume_from)) {
      size = resume_from;  // the same file still (If-Range), and the part was the whole of it
    } else {
      LEM_ASSIGN_OR_RETURN(const UrlParts parts, SplitUrl(answer.url));
      if (resume_from == 0) return HttpStatusError(answer.status, parts);
      resume_from = 0;
      continue;
    }
    fs::remove(resume_path, ignored);
    return DownloadedFile{size, sink.resumed_from(), std::move(answer.url)};
  }
}

}  // namespace lem::http
