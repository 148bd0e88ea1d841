// GrammarMatcher: the configurations of one sequence, one a token.
#include <algorithm>

#include "base/check.h"
#include "grammar/engine.h"
#include "grammar/grammar.h"

namespace lem {

struct GrammarMatcher::Rep {
  std::shared_ptr<const Grammar> grammar;  // shared with the cache of its owner
  std::shared_ptr<GrammarEngine> engine;   // shared by the sequences of the grammar
  std::vector<ConfigId> configs;           // after each accepted token; the first is the start
  bool finished = false;

  ConfigId now() const { return configs.back(); }
};

GrammarMatcher::GrammarMatcher(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
GrammarMatcher::~GrammarMatcher() = default;

std::unique_ptr<GrammarMatcher> GrammarMatcher::Create(std::shared_ptr<const Grammar> grammar,
                                                       std::shared_ptr<const GrammarVocabulary> vocabulary) {
  auto rep = std::make_unique<Rep>();
  rep->engine = grammar->EngineFor(std::move(vocabulary));
  rep->grammar = std::move(grammar);
  rep->configs.push_back(rep->engine->start());
  return std::unique_ptr<GrammarMatcher>(new GrammarMatcher(std::move(rep)));
}

Status GrammarMatcher::FillMask(std::span<uint32_t> bits) {
  LEM_CHECK(bits.size() == rep_->engine->vocabulary().mask_words()) << "a mask of another vocabulary";
  if (!rep_->finished && rep_->engine->FillMask(rep_->now(), bits)) return OkStatus();
  std::ranges::fill(bits, 0);
  if (rep_->finished) return FailedPrecondition("the answer has ended: no token may follow");
  LEM_TRY(rep_->engine->status());
  return FailedPrecondition("no token of the vocabulary may follow; the grammar cannot be written with this model");
}

bool GrammarMatcher::Accept(TokenId token) {
  const GrammarVocabulary::Rep& tokens = rep_->engine->vocabulary().rep();
  if (rep_->finished || token < 0 || static_cast<size_t>(token) >= tokens.texts.size()) return false;
  const std::string& text = tokens.texts[static_cast<size_t>(token)];
  ConfigId next = rep_->engine->StepToken(rep_->now(), token);
  if (next == GrammarEngine::kDead) {
    if (tokens.is_end[static_cast<size_t>(token)]) {
      if (!rep_->engine->MayEnd(rep_->now())) return false;
      rep_->finished = true;
      next = rep_->now();
    } else if (!text.empty()) {
      next = rep_->engine->Step(rep_->now(), text);
    }
  }
  if (next == GrammarEngine::kDead) return false;
  rep_->configs.push_back(next);
  return true;
}

bool GrammarMatcher::AcceptBytes(std::string_view bytes) {
  if (rep_->finished) return false;
  const ConfigId next = rep_->engine->Step(rep_->now(), bytes);
  if (next == GrammarEngine::kDead) return false;
  rep_->configs.push_back(next);
  return true;
}

bool GrammarMatcher::MayEnd() const { return !rep_->finished && rep_->engine->MayEnd(rep_->now()); }
bool GrammarMatcher::Finished() const { return rep_->finished; }
bool GrammarMatcher::MustEnd() { return !rep_->finished && rep_->engine->MustEnd(rep_->now()); }

std::string GrammarMatcher::ForcedBytes(size_t max_bytes) {
  return rep_->finished ? std::string() : rep_->engine->ForcedBytes(rep_->now(), max_bytes);
}

std::vector<TokenId> GrammarMatcher::ForcedTokens(const Tokenizer& tokenizer, size_t max_bytes) {
  const std::string forced = ForcedBytes(max_bytes);
  if (forced.empty()) return {};
  std::vector<TokenId> tokens = tokenizer.Encode(forced, SpecialTokens::kAsText, AddSpecial::kNone);
  // The tokens have to spell the bytes: some tokenizers put a blank before a text.
  std::string spelled;
  const GrammarVocabulary::Rep& vocabulary = rep_->engine->vocabulary().rep();
  for (const TokenId token : tokens) spelled += vocabulary.texts[static_cast<size_t>(token)];
  if (spelled != forced) return {};
  // What follows may join the last tokens to a longer one: they are left to the model.
  std::string tail;
  for (size_t i = tokens.size(); i-- > 0;) {
    tail.insert(0, vocabulary.texts[static_cast<size_t>(tokens[i])]);
    if (vocabulary.HasLonger(tail)) tokens.resize(i);
  }
  return tokens;
}

void GrammarMatcher::Rollback(size_t count) {
  LEM_CHECK(count <= num_accepted()) << "a rollback of " << count << " of " << num_accepted() << " tokens";
  if (count == 0) return;
  rep_->finished = false;  // only the last one can have ended it
  rep_->configs.resize(rep_->configs.size() - count);
}

size_t GrammarMatcher::num_accepted() const { return rep_->configs.size() - 1; }

std::unique_ptr<GrammarMatcher> GrammarMatcher::Clone() const {
  return std::unique_ptr<GrammarMatcher>(new GrammarMatcher(std::make_unique<Rep>(*rep_)));
}

Status GrammarMatcher::status() const { return rep_->engine->status(); }

}  // namespace lem
