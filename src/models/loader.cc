#include <algorithm>
#include <map>

#include "base/log.h"
#include "models/gguf_tokenizer.h"
#include "models/model.h"

namespace lem {
namespace {

// Binds one slot of the graph to the tensor of its name, after checking that the shapes agree.
Result<WeightHandle> BindWeight(const WeightInfo& info, const std::shared_ptr<const GgufFile>& file,
                                const std::string& source, WeightTable& table) {
  const GgufTensor* tensor = file->FindTensor(info.name);
  if (tensor == nullptr) return NotFound("the file has no tensor {}", info.name);
  const bool is_vector = info.rows == 1;
  const std::vector<uint64_t> expected =
      is_vector ? std::vector<uint64_t>{static_cast<uint64_t>(info.cols)}
                : std::vector<uint64_t>{static_cast<uint64_t>(info.cols), static_cast<uint64_t>(info.rows)};
  std::vector<uint64_t> found = tensor->dims;
  while (found.size() > expected.size() && found.back() == 1) found.pop_back();
  if (found != expected) {
    return InvalidArgument("tensor {} has shape [{}]; the model's other sizes need [{}]", info.name,
                           fmt::join(found, ", "), fmt::join(expected, ", "));
  }
  const std::optional<uint64_t> row_bytes = RowBytes(tensor->dtype, static_cast<uint64_t>(info.cols));
  if (!row_bytes || tensor->bytes.size() != *row_bytes * static_cast<uint64_t>(info.rows)) {
    return DataLoss("tensor {} has {} bytes, which is not {} rows of {} {} values", info.name, tensor->bytes.size(),
                    info.rows, info.cols, GetDTypeInfo(tensor->dtype).name);
  }
  WeightDesc desc{info.name, tensor->dtype, Layout::kGgufRows, info.rows, info.cols, *row_bytes, true, source};
  return table.Add(std::move(desc), tensor->bytes, file);
}

// A file that was written anew has another time or size.
std::string SourceOf(const std::filesystem::path& path, const GgufFile& file) {
  std::error_code error;
  const auto time = std::filesystem::last_write_time(path, error);
  return error ? "" : fmt::format("{} {}", file.file_bytes().size(), time.time_since_epoch().count());
}

// The type that most bytes of the matrices inside the layers have.
std::string MainQuantization(const GgufFile& file) {
  std::map<std::string_view, uint64_t> bytes_of;
  for (const GgufTensor& tensor : file.tensors()) {
    const uint64_t weight = tensor.name.starts_with("blk.") ? 1 : 0;
    if (tensor.dims.size() > 1) bytes_of[GetDTypeInfo(tensor.dtype).name] += tensor.bytes.size() * weight;
  }
  const auto most = std::ranges::max_element(bytes_of, {}, [](const auto& entry) { return entry.second; });
  return most == bytes_of.end() ? "unknown" : std::string(most->first);
}

// A template that cannot be used must not keep a model from completing text: it is reported and ChatML stands in, which
// `lem show` says too.
std::unique_ptr<ChatTemplate> MakeChatTemplate(std::string_view source) {
  if (source.empty()) return ChatTemplate::ChatMl();
  Result<std::unique_ptr<ChatTemplate>> parsed = ChatTemplate::Create(source);
  if (parsed.ok()) return std::move(*parsed);
  LogWarning("the model's chat template cannot be used, ChatML is used instead: {}", parsed.status().message());
  return ChatTemplate::ChatMl();
}

}  // namespace

Result<std::unique_ptr<Model>> LoadModel(const std::filesystem::path& path) {
  LEM_ASSIGN_OR_RETURN(GgufFile opened, GgufFile::Open(path));
  const auto file = std::make_shared<const GgufFile>(std::move(opened));
  auto model = std::make_unique<Model>();
  LEM_ASSIGN_OR_RETURN(model->config, ReadModelConfig(*file));
  model->graph =
      model->config.architecture == "gemma3" ? BuildGemma3Graph(model->config) : BuildLlamaGraph(model->config);
  const std::string content = SourceOf(path, *file);
  for (const WeightInfo& info : model->graph.weights) {
    LEM_ASSIGN_OR_RETURN(const WeightHandle handle, BindWeight(info, file, content, model->weights));
    model->bound_weights.push_back(handle);
  }
  LEM_ASSIGN_OR_RETURN(model->tokenizer, LoadTokenizer(file));
  if (model->tokenizer->vocab_size() > model->config.vocab_size) {
    return DataLoss("the tokeniser has {} tokens and the embedding table only {} rows", model->tokenizer->vocab_size(),
                    model->config.vocab_size);
  }
  LEM_ASSIGN_OR_RETURN(const std::string_view source, file->GetStringOr("tokenizer.chat_template", ""));
  model->chat_template = MakeChatTemplate(source);
  model->quantization = MainQuantization(*file);
  for (const GgufTensor& tensor : file->tensors()) model->num_parameters += tensor.num_elements();
  model->file_bytes = file->file_bytes().size();
  return model;
}

}  // namespace lem
