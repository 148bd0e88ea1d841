#include "api/openai/embeddings.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "api/json_fields.h"
#include "api/openai/prompts.h"
#include "base/base64.h"

namespace lem::openai {
namespace {

constexpr size_t kMaxInputs = 2048;  // as OpenAI documents it
constexpr IntegerRange kDimensions{1, 1 << 20};

tl::unexpected<RequestError> NoObject(const JsonValue& body, std::string_view fields) {
  return tl::unexpected(RequestError{
      InvalidArgument("the body is {}; allowed: an object with {}", JsonKindName(body), fields), "", "invalid_type"});
}

void CheckCount(JsonFields& fields, std::string_view name, size_t count) {
  if (count <= kMaxInputs) return;
  fields.Fail(name, "array_above_max_length",
              fmt::format("{} has {} entries; allowed: at most {}", name, count, kMaxInputs));
}

double Dot(std::span<const float> a, std::span<const float> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

}  // namespace

ParseResult<EmbeddingsRequest> ParseEmbeddingsRequest(const JsonValue& body) {
  if (!body.is_object()) return NoObject(body, "model and input");
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  EmbeddingsRequest request;
  request.model = fields.String("model").value_or("");
  request.inputs = ReadPrompts(fields, "input");
  CheckCount(fields, "input", request.inputs.size());
  if (const auto format = fields.String("encoding_format")) {
    request.base64 = *format == "base64";
    if (*format != "base64" && *format != "float") {
      fields.FailValue("encoding_format", *fields.Find("encoding_format"), "\"float\", \"base64\"");
    }
  }
  request.dimensions = static_cast<int32_t>(fields.Integer("dimensions", kDimensions).value_or(0));
  if (const auto pooling = fields.String("pooling")) {
    if (*pooling == "last") {
      request.pooling = Pooling::kLast;
    } else if (*pooling == "cls") {
      request.pooling = Pooling::kFirst;
    } else if (*pooling != "mean") {
      fields.FailValue("pooling", *fields.Find("pooling"), "\"mean\", \"last\", \"cls\"");
    }
  }
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

std::string WriteEmbeddings(const EmbeddingsRequest& request, std::span<const std::vector<float>> vectors,
                            int64_t prompt_tokens) {
  JsonWriter writer;
  writer.BeginObject().Key("object").String("list").Key("data").BeginArray();
  for (size_t i = 0; i < vectors.size(); ++i) {
    writer.BeginObject().Key("object").String("embedding").Key("index").Int(static_cast<int64_t>(i)).Key("embedding");
    if (request.base64) {
      writer.String(EncodeBase64(std::as_bytes(std::span(vectors[i]))));
    } else {
      writer.BeginArray();
      for (const float value : vectors[i]) writer.Float(value);
      writer.EndArray();
    }
    writer.EndObject();
  }
  writer.EndArray().Key("model").String(request.model);
  writer.Key("usage").BeginObject().Key("prompt_tokens").Int(prompt_tokens).Key("total_tokens").Int(prompt_tokens);
  writer.EndObject().EndObject();
  return writer.Take();
}

ParseResult<RerankRequest> ParseRerankRequest(const JsonValue& body) {
  if (!body.is_object()) return NoObject(body, "model, query and documents");
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  RerankRequest request;
  request.model = fields.String("model").value_or("");
  const auto query = fields.String("query");
  if (query) {
    request.query = *query;
  } else {
    fields.FailMissing("query", "a string");
  }
  const JsonArray* documents = fields.Array("documents");
  if (documents == nullptr || documents->empty()) {
    fields.FailMissing("documents", "an array of at least one string, or object with text");
  } else {
    CheckCount(fields, "documents", documents->size());
    for (size_t i = 0; i < documents->size() && error.ok(); ++i) {
      const JsonValue& item = (*documents)[i];
      if (const auto* text = item.if_string()) {
        request.documents.emplace_back(text->data(), text->size());
        continue;
      }
      const std::string path = fmt::format("documents[{}]", i);
      if (!item.is_object()) {
        fields.FailType(path, item, "a string, or an object with text");
        continue;
      }
      JsonFields inner(item.get_object(), path, error);
      const auto text = inner.String("text");
      if (text) {
        request.documents.emplace_back(*text);
      } else {
        inner.FailMissing("text", "a string");
      }
    }
  }
  request.top_n = static_cast<size_t>(
      fields.Integer("top_n", {1, 1 << 20}).value_or(static_cast<int64_t>(request.documents.size())));
  request.return_documents = fields.Boolean("return_documents").value_or(false);
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

std::string WriteRerank(const RerankRequest& request, std::string_view id, std::span<const std::vector<float>> vectors,
                        int64_t prompt_tokens) {
  std::vector<std::pair<double, size_t>> ranked;  // similarity, document
  ranked.reserve(request.documents.size());
  for (size_t i = 0; i < request.documents.size(); ++i) ranked.emplace_back(Dot(vectors[0], vectors[i + 1]), i);
  std::ranges::sort(ranked, {}, [](const auto& entry) { return std::pair(-entry.first, entry.second); });
  ranked.resize(std::min(ranked.size(), request.top_n));
  JsonWriter writer;
  writer.BeginObject().Key("id").String(id).Key("object").String("rerank").Key("model").String(request.model);
  // People must not take this for the judgement of a model that was trained for it.
  writer.Key("method").String("cosine similarity of pooled embeddings");
  writer.Key("results").BeginArray();
  for (const auto& [similarity, idx] : ranked) {
    writer.BeginObject().Key("index").Int(static_cast<int64_t>(idx)).Key("relevance_score").Double(similarity);
    if (request.return_documents) {
      writer.Key("document").BeginObject().Key("text").String(request.documents[idx]).EndObject();
    }
    writer.EndObject();
  }
  writer.EndArray().Key("usage").BeginObject().Key("prompt_tokens").Int(prompt_tokens);
  writer.Key("total_tokens").Int(prompt_tokens).EndObject().EndObject();
  return writer.Take();
}

}  // namespace lem::openai
