#include "api/openai/models.h"

#include "base/json.h"

namespace lem::openai {
namespace {

void Write(const ModelSummary& model, JsonWriter& writer) {
  writer.BeginObject();
  writer.Key("id").String(model.id);
  writer.Key("object").String("model");
  writer.Key("created").Int(model.created_unix_s);
  writer.Key("owned_by").String("lemonade");
  // Ours: clients that plan their prompts look for these.
  writer.Key("context_length");
  if (model.context_length > 0) {
    writer.Int(model.context_length);
  } else {
    writer.Null();
  }
  writer.Key("state").String(model.state);
  writer.EndObject();
}

}  // namespace

std::string WriteModelList(std::span<const ModelSummary> models) {
  JsonWriter writer;
  writer.BeginObject().Key("object").String("list").Key("data").BeginArray();
  for (const ModelSummary& model : models) Write(model, writer);
  writer.EndArray().EndObject();
  return writer.Take();
}

std::string WriteModel(const ModelSummary& model) {
  JsonWriter writer;
  Write(model, writer);
  return writer.Take();
}

}  // namespace lem::openai
