// lem show NAME|FILE|FOLDER: what a model is, read from its file without loading it.
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>

#include "apps/lem/commands.h"
#include "apps/lem/terminal.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "runtime/store/model_store.h"

namespace lem {
namespace {

struct ShowFlags {
  std::string model;
  bool metadata = false;
  bool tensors = false;
  bool chat_template = false;
  bool json = false;
};

struct TypeCount {
  std::string name;  // "Q4_1"
  uint64_t num_tensors = 0, num_elements = 0, num_bytes = 0;
};

// What the file says of itself; 0 or empty where it says nothing.
struct Summary {
  std::string id, path, source, sha256, license;
  std::string architecture, title;
  uint64_t file_bytes = 0, num_parameters = 0;
  std::vector<TypeCount> types;  // most bytes first
  uint64_t context_length = 0, hidden_size = 0, num_layers = 0, num_heads = 0, num_kv_heads = 0;
  uint64_t vocab_size = 0;
  std::string tokenizer, pre_tokenizer, chat_template;
  uint32_t gguf_version = 0;
};

// A number of the architecture: "llama.context_length". Layer-wise lists and odd types count as not stated; loading the
// model is what complains about them.
uint64_t ArchitectureNumber(const GgufFile& file, const std::string& architecture, std::string_view key) {
  return file.GetUintOr(fmt::format("{}.{}", architecture, key), 0).value_or(0);
}

std::string Text(const GgufFile& file, std::string_view key) {
  return std::string(file.GetStringOr(key, "").value_or(""));
}

void CountTypes(const GgufFile& file, Summary& summary) {
  std::map<DType, TypeCount> counts;
  for (const GgufTensor& tensor : file.tensors()) {
    TypeCount& count = counts[tensor.dtype];
    count.name = GetDTypeInfo(tensor.dtype).name;
    ++count.num_tensors;
    count.num_elements += tensor.num_elements();
    count.num_bytes += tensor.bytes.size();
    summary.num_parameters += tensor.num_elements();
  }
  for (auto& [dtype, count] : counts) summary.types.push_back(std::move(count));
  std::ranges::sort(summary.types, std::greater(), &TypeCount::num_bytes);
}

Summary Summarise(const ModelStore& store, const ModelRef& model, const std::optional<StoredModel>& stored,
                  const GgufFile& file) {
  Summary summary;
  summary.id = model.id;
  summary.path = model.path.string();
  summary.license = Text(file, "general.license");
  if (stored.has_value()) {
    summary.source = stored->source;
    summary.sha256 = stored->sha256;
    const ModelEntry* entry = store.catalogue().Find(stored->name);
    if (entry != nullptr && !entry->license.empty()) summary.license = entry->license;
  }
  summary.architecture = Text(file, "general.architecture");
  summary.title = Text(file, "general.name");
  summary.file_bytes = file.file_bytes().size();
  CountTypes(file, summary);
  const std::string& architecture = summary.architecture;
  summary.context_length = ArchitectureNumber(file, architecture, "context_length");
  summary.hidden_size = ArchitectureNumber(file, architecture, "embedding_length");
  summary.num_layers = ArchitectureNumber(file, architecture, "block_count");
  summary.num_heads = ArchitectureNumber(file, architecture, "attention.head_count");
  summary.num_kv_heads = ArchitectureNumber(file, architecture, "attention.head_count_kv");
  if (const auto tokens = file.GetStrings("tokenizer.ggml.tokens"); tokens.ok()) summary.vocab_size = tokens->size();
  summary.tokenizer = Text(file, "tokenizer.ggml.model");
  summary.pre_tokenizer = Text(file, "tokenizer.ggml.pre");
  summary.chat_template = Text(file, "tokenizer.chat_template");
  summary.gguf_version = file.version();
  return summary;
}

std::string FormatCount(uint64_t count) {
  if (count >= 1'000'000'000) return fmt::format("{:.2f} B", static_cast<double>(count) / 1e9);
  if (count >= 1'000'000) return fmt::format("{:.1f} M", static_cast<double>(count) / 1e6);
  return fmt::format("{:.1f} k", static_cast<double>(count) / 1e3);
}

void PrintText(const Summary& summary) {
  const auto row = [](std::string_view label, const std::string& value) {
    if (!value.empty()) PrintLine(stdout, fmt::format("{:<16}{}", label, value));
  };
  const auto number = [](uint64_t value) { return value == 0 ? std::string() : fmt::to_string(value); };
  row("model", summary.id);
  row("name in file", summary.title);
  row("path", summary.path);
  row("source", summary.source);
  row("SHA-256", summary.sha256);
  row("license", summary.license.empty() ? "not stated" : summary.license);
  row("size", FormatBytes(summary.file_bytes));
  row("architecture", summary.architecture);
  row("parameters", FormatCount(summary.num_parameters));
  for (const TypeCount& type : summary.types) {
    row(&type == &summary.types.front() ? "quantisation" : "",
        fmt::format("{:<6} {:>4} tensors  {:>9} parameters  {:>9}", type.name, type.num_tensors,
                    FormatCount(type.num_elements), FormatBytes(type.num_bytes)));
  }
  row("context length", number(summary.context_length));
  row("hidden size", number(summary.hidden_size));
  row("layers", number(summary.num_layers));
  if (summary.num_heads > 0) {
    const uint64_t num_kv_heads = summary.num_kv_heads == 0 ? summary.num_heads : summary.num_kv_heads;
    row("heads", fmt::format("{} (key/value: {})", summary.num_heads, num_kv_heads));
  }
  if (!summary.tokenizer.empty()) {
    row("vocabulary", fmt::format("{} tokens, {}{}{}", summary.vocab_size, summary.tokenizer,
                                  summary.pre_tokenizer.empty() ? "" : " / ", summary.pre_tokenizer));
  }
  row("chat template", summary.chat_template.empty()
                           ? "none in the file: ChatML is used instead"
                           : fmt::format("in the file, {}", FormatBytes(summary.chat_template.size())));
  row("GGUF version", fmt::to_string(summary.gguf_version));
}

void PrintJson(const Summary& summary, const GgufFile& file, const ShowFlags& flags) {
  JsonWriter out;
  out.BeginObject().Key("id").String(summary.id).Key("name").String(summary.title);
  out.Key("path").String(summary.path).Key("source").String(summary.source).Key("sha256").String(summary.sha256);
  out.Key("license").String(summary.license).Key("size_bytes").UInt(summary.file_bytes);
  out.Key("architecture").String(summary.architecture).Key("num_parameters").UInt(summary.num_parameters);
  out.Key("quantization").BeginArray();
  for (const TypeCount& type : summary.types) {
    out.BeginObject().Key("type").String(type.name).Key("num_tensors").UInt(type.num_tensors);
    out.Key("num_parameters").UInt(type.num_elements).Key("size_bytes").UInt(type.num_bytes).EndObject();
  }
  out.EndArray().Key("context_length").UInt(summary.context_length).Key("hidden_size").UInt(summary.hidden_size);
  out.Key("num_layers").UInt(summary.num_layers).Key("num_heads").UInt(summary.num_heads);
  out.Key("num_kv_heads").UInt(summary.num_kv_heads).Key("vocab_size").UInt(summary.vocab_size);
  out.Key("tokenizer").String(summary.tokenizer).Key("pre_tokenizer").String(summary.pre_tokenizer);
  out.Key("has_chat_template").Bool(!summary.chat_template.empty()).Key("gguf_version").UInt(summary.gguf_version);
  if (flags.chat_template) out.Key("chat_template").String(summary.chat_template);
  if (flags.metadata) {
    out.Key("metadata").BeginObject();
    for (const std::string_view key : file.keys()) out.Key(key).String(file.Describe(key));
    out.EndObject();
  }
  if (flags.tensors) {
    out.Key("tensors").BeginArray();
    for (const GgufTensor& tensor : file.tensors()) {
      out.BeginObject().Key("name").String(tensor.name).Key("type").String(GetDTypeInfo(tensor.dtype).name);
      out.Key("dims").BeginArray();
      for (const uint64_t dim : tensor.dims) out.UInt(dim);
      out.EndArray().EndObject();
    }
    out.EndArray();
  }
  PrintLine(stdout, out.EndObject().text());
}

Status Show(const ShowFlags& flags) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelStore> store, ModelStore::Open());
  LEM_ASSIGN_OR_RETURN(const ModelRef model, store->Resolve(flags.model));
  std::optional<StoredModel> stored;
  if (!LooksLikePath(flags.model)) {
    LEM_ASSIGN_OR_RETURN(const std::vector<StoredModel> all, store->List());
    const auto it = std::ranges::find(all, model.id, &StoredModel::name);
    if (it != all.end() && store->PathOf(*it) == model.path) stored = *it;
  }
  LEM_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(model.path));
  const Summary summary = Summarise(*store, model, stored, file);
  if (flags.json) {
    PrintJson(summary, file, flags);
    return OkStatus();
  }
  if (flags.chat_template) {
    PrintLine(stdout, summary.chat_template);
    return OkStatus();
  }
  PrintText(summary);
  if (flags.metadata) {
    PrintLine(stdout, "\nmetadata");
    for (const std::string_view key : file.keys()) PrintLine(stdout, fmt::format("  {} = {}", key, file.Describe(key)));
  }
  if (flags.tensors) {
    PrintLine(stdout, "\ntensors");
    for (const GgufTensor& tensor : file.tensors()) {
      PrintLine(stdout, fmt::format("  {:<40} {:<5} {}", tensor.name, GetDTypeInfo(tensor.dtype).name,
                                    fmt::join(tensor.dims, " x ")));
    }
  }
  return OkStatus();
}

}  // namespace

void RegisterShow(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ShowFlags>();
  CLI::App* command = app.add_subcommand("show", "Show what a model is");
  command->add_option("model", flags->model, "Name in the store, .gguf file, or folder that holds one")->required();
  command->add_flag("--metadata", flags->metadata, "Also all metadata");
  command->add_flag("--tensors", flags->tensors, "Also all tensors");
  command->add_flag("--template", flags->chat_template, "The chat template alone");
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return Finish(Show(*flags)); }; });
}

}  // namespace lem
