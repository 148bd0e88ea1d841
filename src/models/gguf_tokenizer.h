// The tokenizer of a GGUF file, from its tokenizer.ggml.* metadata.
#pragma once

#include <memory>

#include "base/status.h"
#include "formats/gguf.h"
#include "text/tokenizer.h"

namespace lem {

// Works on files with tensors and on vocabulary-only files. The tokenizer keeps `file`, whose bytes its tokens are
// views of. Errors: NotFound for a missing key, InvalidArgument for one of a wrong type, and as Tokenizer::Create.
Result<std::unique_ptr<Tokenizer>> LoadTokenizer(std::shared_ptr<const GgufFile> file);

}  // namespace lem
