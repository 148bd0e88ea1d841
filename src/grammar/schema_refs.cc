// $ref: addresses of schemas in a document. Nothing is ever fetched.
#include "grammar/schema.h"

namespace lem {
namespace {

constexpr size_t kMaxIndexDepth = 220;  // the reader of JSON allows less

// The keyword of an address: $id, or id before draft 6. A name only (#here) is an anchor.
const boost::json::string* IdOf(const JsonObject& schema) {
  for (const std::string_view name : {"$id", "id"}) {
    const JsonValue* id = schema.if_contains(name);
    if (id != nullptr && id->is_string()) return &id->get_string();
  }
  return nullptr;
}

std::string_view WithoutFragment(std::string_view address) { return address.substr(0, address.find('#')); }

// `ref` as it is meant in `base`: schemes and roots replace, names take the place of the last one.
std::string Absolute(std::string_view ref, std::string_view base) {
  if (ref.empty()) return std::string(base);
  const size_t colon = ref.find(':'), slash = ref.find('/');
  if (colon != std::string_view::npos && colon < slash) return std::string(ref);
  const size_t authority = base.find("://");
  if (ref[0] == '/') {
    const size_t path = authority == std::string_view::npos ? 0 : base.find('/', authority + 3);
    return std::string(base.substr(0, path)) + std::string(ref);
  }
  const size_t last = base.rfind('/');
  if (last == std::string_view::npos || (authority != std::string_view::npos && last < authority + 3)) {
    return std::string(ref);
  }
  return std::string(base.substr(0, last + 1)) + std::string(ref);
}

std::string Unescaped(std::string_view token) {
  std::string bytes;
  for (size_t i = 0; i < token.size(); ++i) {
    const auto hex = [](char c) {
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'a' && c <= 'f' ? c - 'a' + 10
             : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                    : -1;
    };
    if (token[i] == '%' && i + 2 < token.size() && hex(token[i + 1]) >= 0 && hex(token[i + 2]) >= 0) {
      bytes.push_back(static_cast<char>(hex(token[i + 1]) * 16 + hex(token[i + 2])));
      i += 2;
    } else {
      bytes.push_back(token[i]);
    }
  }
  std::string out;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '~' && i + 1 < bytes.size() && (bytes[i + 1] == '0' || bytes[i + 1] == '1')) {
      out.push_back(bytes[++i] == '0' ? '~' : '/');
    } else {
      out.push_back(bytes[i]);
    }
  }
  return out;
}

const JsonValue* Follow(const JsonValue* node, std::string_view pointer) {
  while (!pointer.empty() && node != nullptr) {
    pointer.remove_prefix(1);
    const size_t end = std::min(pointer.find('/'), pointer.size());
    const std::string token = Unescaped(pointer.substr(0, end));
    pointer.remove_prefix(end);
    if (node->is_object()) {
      node = node->get_object().if_contains(token);
    } else if (node->is_array()) {
      size_t index = 0;
      if (token.empty() || token.size() > 9) return nullptr;
      for (const char c : token) {
        if (c < '0' || c > '9') return nullptr;
        index = index * 10 + static_cast<size_t>(c - '0');
      }
      node = index < node->get_array().size() ? &node->get_array()[index] : nullptr;
    } else {
      node = nullptr;
    }
  }
  return node;
}

}  // namespace

SchemaReferences::SchemaReferences(const JsonValue& root) : root_(root) {
  nodes_.emplace("", &root);
  Index(root, "", 0);
}

std::string SchemaReferences::BaseOf(const JsonValue& schema, const std::string& base) {
  if (!schema.is_object()) return base;
  const boost::json::string* id = IdOf(schema.get_object());
  if (id == nullptr || id->starts_with('#')) return base;
  return Absolute(WithoutFragment(*id), base);
}

void SchemaReferences::Index(const JsonValue& value, const std::string& base, size_t depth) {
  if (depth > kMaxIndexDepth) return;
  if (value.is_array()) {
    for (const JsonValue& item : value.get_array()) Index(item, base, depth + 1);
    return;
  }
  if (!value.is_object()) return;
  const JsonObject& schema = value.get_object();
  const std::string own = BaseOf(value, base);
  if (const boost::json::string* id = IdOf(schema); id != nullptr) {
    if (id->starts_with('#')) {
      nodes_.try_emplace(own + std::string(*id), &value);
    } else {
      nodes_.try_emplace(own, &value);
      bases_.try_emplace(&value, own);
    }
  }
  for (const std::string_view name : {"$anchor", "$dynamicAnchor"}) {
    const JsonValue* anchor = schema.if_contains(name);
    if (anchor != nullptr && anchor->is_string()) {
      nodes_.try_emplace(own + "#" + std::string(anchor->get_string()), &value);
    }
  }
  for (const auto& member : schema) {
    if (member.key() == "enum" || member.key() == "const") continue;  // data, not schemas
    Index(member.value(), own, depth + 1);
  }
}

Result<const JsonValue*> SchemaReferences::Resolve(std::string_view ref, const std::string& base) const {
  const auto unknown = [&] {
    return InvalidArgument("$ref {} leads nowhere in this document; put what it means under $defs (nothing is fetched)",
                           JsonQuote(ref.substr(0, 200)));
  };
  const size_t hash = ref.find('#');
  const std::string_view address = ref.substr(0, hash);
  const std::string_view fragment = hash == std::string_view::npos ? "" : ref.substr(hash + 1);
  const std::string absolute = Absolute(address, base);
  if (!fragment.empty() && fragment[0] != '/') {
    const auto anchor = nodes_.find(absolute + "#" + std::string(fragment));
    if (anchor == nodes_.end()) return unknown();
    return anchor->second;
  }
  const auto resource = nodes_.find(absolute);
  const JsonValue* node = resource == nodes_.end() ? (address.empty() ? &root_ : nullptr) : resource->second;
  node = node == nullptr ? nullptr : Follow(node, fragment);
  // Pointers are often written from the root although a schema around them has an $id.
  if (node == nullptr && address.empty()) node = Follow(&root_, fragment);
  if (node == nullptr) return unknown();
  return node;
}

}  // namespace lem
