#include "grammar/vocabulary.h"

#include <algorithm>
#include <atomic>
#include <optional>

#include "grammar/code_points.h"
#include "grammar/number_map.h"

namespace lem {
namespace {

using Rep = GrammarVocabulary::Rep;

// The number of characters of a plain text.
std::optional<uint32_t> PlainLength(std::string_view text) {
  uint32_t length = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte < 0x20 || byte == '"' || byte == '\\') return std::nullopt;
    if ((byte & 0xC0) != 0x80) ++length;
  }
  if (!IsValidUtf8(text)) return std::nullopt;
  return length;
}

class TrieBuilder {
 public:
  explicit TrieBuilder(Rep& rep) : rep_(rep) {}

  Rep::Range Build(std::vector<TokenId> tokens) {
    std::ranges::sort(tokens, [&](TokenId a, TokenId b) {
      const int order = TextOf(a).compare(TextOf(b));
      return order != 0 ? order < 0 : a < b;
    });
    Rep::Range range{static_cast<uint32_t>(rep_.nodes.size()), 0};
    std::vector<uint32_t> path;  // nodes of the text before
    std::string_view before;
    for (const TokenId token : tokens) {
      const std::string_view text = TextOf(token);
      size_t common = 0;
      while (common < std::min(text.size(), before.size()) && text[common] == before[common]) ++common;
      Close(path, common);
      for (size_t i = common; i < text.size(); ++i) {
        path.push_back(static_cast<uint32_t>(rep_.nodes.size()));
        rep_.nodes.push_back({0, Rep::kNoToken, static_cast<uint8_t>(text[i])});
      }
      Rep::TrieNode& node = rep_.nodes[path.back()];
      rep_.next_same[static_cast<size_t>(token)] = node.token;
      node.token = token;
      before = text;
    }
    Close(path, 0);
    range.end = static_cast<uint32_t>(rep_.nodes.size());
    return range;
  }

 private:
  std::string_view TextOf(TokenId token) const { return rep_.texts[static_cast<size_t>(token)]; }
  void Close(std::vector<uint32_t>& path, size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      rep_.nodes[path.back()].end = static_cast<uint32_t>(rep_.nodes.size());
    }
  }
  Rep& rep_;
};

// Fills `staying` and `closing` with the expressions that grammars are made of, so that both agree.
void WalkString(Rep& rep) {
  ExprSet exprs;
  CodePointCoder coder(exprs, TextForm::kJsonString);
  const ExprId inside = coder.AnyText();
  struct Level {
    uint32_t end;
    ExprId state;
    uint32_t chars;
  };
  std::vector<Level> levels{{rep.others.end, inside, 0}};
  for (uint32_t at = rep.others.begin; at < rep.others.end;) {
    while (levels.back().end <= at) levels.pop_back();
    const Rep::TrieNode& node = rep.nodes[at];
    const Level above = levels.back();
    if (above.state == inside && node.byte == '"') {
      rep.closing.push_back({above.chars, at});
      at = node.end;
      continue;
    }
    const ExprId state = exprs.Derive(above.state, node.byte);
    if (state == kEmpty) {
      at = node.end;
      continue;
    }
    const uint32_t chars = above.chars + (above.state == inside ? 1 : 0);  // counted when it begins
    if (node.token != Rep::kNoToken) rep.staying.push_back({chars, at});
    levels.push_back({node.end, state, chars});
    ++at;
  }
  std::ranges::sort(rep.staying);
  std::ranges::sort(rep.closing);
  rep.string_mask.assign(rep.plain_masks.end() - static_cast<std::ptrdiff_t>(rep.mask_words), rep.plain_masks.end());
  const auto add = [&](TokenId first) {
    for (TokenId token = first; token != Rep::kNoToken; token = rep.next_same[static_cast<size_t>(token)]) {
      rep.string_mask[static_cast<size_t>(token) / 32] |= uint32_t{1} << (token % 32);
    }
  };
  for (const auto& [chars, token] : rep.long_tokens) {
    add(token);
    rep.most_chars = std::max(rep.most_chars, chars);
  }
  for (const auto* list : {&rep.staying, &rep.closing}) {
    for (const Rep::InString& entry : *list) {
      add(rep.nodes[entry.node].token);
      rep.most_chars = std::max(rep.most_chars, entry.chars);
    }
  }
  for (const Rep::InString& entry : rep.closing) {
    if (rep.nodes[entry.node].end != entry.node + 1) rep.string_left.push_back(entry.node);
  }
  rep.most_chars = std::max(rep.most_chars, Rep::kMaxPlain);
}

// Fills `by_characters` from the tries of bytes.
void CollectPlain(Rep& rep) {
  const PlainUtf8& utf8 = PlainUtf8::Get();
  NumberMap children;
  const auto child = [&](uint32_t parent, uint8_t symbol) {
    const uint64_t key = uint64_t{parent} << 8 | symbol;
    uint32_t node = children.Find(key);
    if (node == NumberMap::kNone) {
      node = rep.by_characters.AddNode(parent, symbol);
      children.Set(key, node);
    }
    return node;
  };
  // The way to a node: what was read, and of a character that has begun its bytes and what came before it.
  struct Level {
    uint32_t end, plain, before;
    uint8_t state;
    TrieExit begun;
  };
  std::vector<Level> levels{{static_cast<uint32_t>(rep.nodes.size()), 0, 0, 0, {}}};
  for (uint32_t at = 0; at < rep.nodes.size();) {
    while (levels.back().end <= at) levels.pop_back();
    const Rep::TrieNode& node = rep.nodes[at];
    Level level = levels.back();
    level.end = node.end;
    if (level.state == 0 && PlainAscii().Has(node.byte)) {
      level.plain = child(level.plain, node.byte);
    } else if (const uint8_t next = utf8.Next(level.state, node.byte); next != PlainUtf8::kNoState) {
      if (level.state == 0) {
        rep.by_characters.AddWide(level.plain, at);
        level.before = level.plain;
        level.plain = child(level.plain, PlainTrie::kBeyondAscii);
        level.begun.lead_size = 0;
      }
      level.begun.lead[level.begun.lead_size++ % level.begun.lead.size()] = node.byte;
      level.state = next;
    } else {
      level.begun.at = at;
      if (level.state == 0) {
        rep.by_characters.AddExit(level.plain, {at, {}, 0});
      } else {
        rep.by_characters.AddExit(level.before, level.begun);
      }
      at = node.end;
      continue;
    }
    for (TokenId token = node.token; token != Rep::kNoToken; token = rep.next_same[static_cast<size_t>(token)]) {
      rep.by_characters.AddToken(level.plain, token);
    }
    levels.push_back(level);
    ++at;
  }
  rep.by_characters.Finish(rep.mask_words);
}

std::unique_ptr<Rep> MakeRep(std::vector<std::string> texts, std::vector<TokenId> end_tokens) {
  static std::atomic<uint64_t> next_id{1};
  auto rep = std::make_unique<Rep>();
  rep->id = next_id++;
  rep->texts = std::move(texts);
  rep->end_tokens = std::move(end_tokens);
  rep->is_end.resize(rep->texts.size());
  for (const TokenId token : rep->end_tokens) rep->is_end[static_cast<size_t>(token)] = true;
  rep->next_same.assign(rep->texts.size(), Rep::kNoToken);
  rep->mask_words = (rep->texts.size() + 31) / 32;
  rep->plain_masks.resize((Rep::kMaxPlain + 1) * rep->mask_words);
  std::vector<TokenId> plain, long_plain, others;
  for (size_t i = 0; i < rep->texts.size(); ++i) {
    if (rep->texts[i].empty() || rep->is_end[i]) continue;
    const auto token = static_cast<TokenId>(i);
    const std::optional<uint32_t> length = PlainLength(rep->texts[i]);
    if (!length) {
      others.push_back(token);
    } else if (*length > Rep::kMaxPlain) {
      long_plain.push_back(token);
      rep->long_tokens.emplace_back(*length, token);
    } else {
      plain.push_back(token);
      for (size_t k = *length; k <= Rep::kMaxPlain; ++k) {
        rep->plain_masks[k * rep->mask_words + i / 32] |= uint32_t{1} << (i % 32);
      }
    }
  }
  TrieBuilder builder(*rep);
  rep->plain = builder.Build(std::move(plain));
  rep->long_plain = builder.Build(std::move(long_plain));
  rep->others = builder.Build(std::move(others));
  std::ranges::sort(rep->long_tokens);
  for (const std::string& text : rep->texts) {
    rep->most_bytes = std::max(rep->most_bytes, static_cast<uint32_t>(text.size()));
  }
  WalkString(*rep);
  CollectPlain(*rep);
  return rep;
}

}  // namespace

bool GrammarVocabulary::Rep::HasLonger(std::string_view text) const {
  for (const Range& range : {plain, long_plain, others}) {
    uint32_t begin = range.begin, end = range.end;
    size_t depth = 0;
    for (; depth < text.size(); ++depth) {
      uint32_t at = begin;
      while (at < end && nodes[at].byte != static_cast<uint8_t>(text[depth])) at = nodes[at].end;
      if (at >= end) break;
      begin = at + 1;
      end = nodes[at].end;
    }
    if (depth == text.size() && begin < end) return true;
  }
  return false;
}

GrammarVocabulary::GrammarVocabulary(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
GrammarVocabulary::~GrammarVocabulary() = default;
size_t GrammarVocabulary::size() const { return rep_->texts.size(); }
size_t GrammarVocabulary::mask_words() const { return rep_->mask_words; }

std::shared_ptr<const GrammarVocabulary> GrammarVocabulary::Create(const Tokenizer& tokenizer) {
  std::vector<std::string> texts(static_cast<size_t>(tokenizer.vocab_size()));
  std::vector<TokenId> end_tokens;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const TokenType type = tokenizer.type_of(id);
    if (tokenizer.IsEndOfGeneration(id)) {
      end_tokens.push_back(id);
    } else if (type == TokenType::kNormal || type == TokenType::kByte || type == TokenType::kUserDefined) {
      texts[static_cast<size_t>(id)] = tokenizer.TokenText(id, SpecialTokens::kAsText);
    }
  }
  return std::shared_ptr<const GrammarVocabulary>(
      new GrammarVocabulary(MakeRep(std::move(texts), std::move(end_tokens))));
}

std::shared_ptr<const GrammarVocabulary> GrammarVocabulary::FromTexts(std::span<const std::string> texts,
                                                                      std::span<const TokenId> end_tokens) {
  return std::shared_ptr<const GrammarVocabulary>(
      new GrammarVocabulary(MakeRep({texts.begin(), texts.end()}, {end_tokens.begin(), end_tokens.end()})));
}

}  // namespace lem
