#include "server/response_store.h"

#include <algorithm>
#include <map>

namespace lem {
namespace {

// What an entry takes beside its texts.
constexpr size_t kEntryBytes = 512;
constexpr size_t kTurnBytes = 128;

}  // namespace

ConversationTurn::ConversationTurn(std::string input_items, std::string output_items,
                                   std::shared_ptr<std::atomic<size_t>> held_bytes)
    : input(std::move(input_items)), output(std::move(output_items)), held_bytes_(std::move(held_bytes)) {
  *held_bytes_ += kTurnBytes + input.size() + output.size();
}
ConversationTurn::~ConversationTurn() { *held_bytes_ -= kTurnBytes + input.size() + output.size(); }

ResponseStore::ResponseStore(ResponseStoreLimits limits)
    : limits_(limits), held_bytes_(std::make_shared<std::atomic<size_t>>(0)) {}

// A thousand entries at most: looking through them costs less than what a request costs anyway.
ResponseStore::Entries::iterator ResponseStore::FindLocked(const std::string& tenant, const std::string& id) {
  return std::ranges::find_if(entries_,
                              [&](const Entry& entry) { return entry.frame.id == id && entry.tenant == tenant; });
}
ResponseStore::Entries::const_iterator ResponseStore::FindLocked(const std::string& tenant,
                                                                 const std::string& id) const {
  return std::ranges::find_if(entries_,
                              [&](const Entry& entry) { return entry.frame.id == id && entry.tenant == tenant; });
}

ParseResult<Conversation> ResponseStore::FindConversation(const std::string& tenant, const std::string& id) const {
  const std::string param = "previous_response_id";
  const auto refuse = [&](Status status, std::string code) {
    return tl::unexpected(RequestError{std::move(status), param, std::move(code)});
  };
  const std::lock_guard lock(mutex_);
  const auto found = FindLocked(tenant, id);
  if (found == entries_.end()) {
    return refuse(InvalidArgument("{} is {}, which is not there: it was not stored, was deleted, or has made room for "
                                  "later ones; send its items as input instead",
                                  param, JsonQuote(id)),
                  "previous_response_not_found");
  }
  if (found->running) {
    return refuse(InvalidArgument("{} is {}, which is still running; wait until it is over", param, JsonQuote(id)),
                  "previous_response_not_over");
  }
  if (found->conversation.size() >= limits_.max_turns) {
    return refuse(InvalidArgument("the conversation of {} has {} turns; allowed: at most {}: begin a new one", param,
                                  found->conversation.size(), limits_.max_turns),
                  "too_many_turns");
  }
  return found->conversation;
}

std::optional<ResponseStore::Found> ResponseStore::Find(const std::string& tenant, const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = FindLocked(tenant, id);
  if (found == entries_.end()) return std::nullopt;
  Found copy{found->body, found->conversation};
  if (!found->input.empty()) {
    copy.conversation.push_back(std::make_shared<const ConversationTurn>(found->input, "[]", held_bytes_));
  }
  return copy;
}

void ResponseStore::Put(const std::string& tenant, const std::string& id, std::string body, Conversation earlier,
                        std::string input, std::string output) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_.emplace_back();
  entry.tenant = tenant;
  entry.body = std::move(body);
  entry.frame.id = id;
  entry.conversation = std::move(earlier);
  AddTurnLocked(entry, std::move(input), std::move(output));
  ShrinkLocked();
}

Status ResponseStore::Begin(const std::string& tenant, openai::ResponseFrame frame, Conversation earlier,
                            std::string input) {
  const std::lock_guard lock(mutex_);
  const auto num_running = static_cast<size_t>(std::ranges::count_if(entries_, &Entry::running));
  if (num_running >= limits_.max_responses) {
    return ResourceExhausted("{} responses run in the background; wait until one is over", num_running);
  }
  Entry& entry = entries_.emplace_back();
  entry.tenant = tenant;
  entry.background = entry.running = true;
  entry.body = openai::WriteResponse(frame, "in_progress");
  entry.frame = std::move(frame);
  entry.conversation = std::move(earlier);
  entry.input = std::move(input);
  CountLocked(entry);
  ShrinkLocked();
  return OkStatus();
}

void ResponseStore::SetCancel(const std::string& tenant, const std::string& id, std::function<void()> cancel) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = FindLocked(tenant, id);
    if (found != entries_.end() && found->running) {
      found->cancel = std::move(cancel);
      return;
    }
  }
  cancel();
}

void ResponseStore::Complete(const std::string& tenant, const std::string& id, std::string body, std::string output) {
  std::function<void()> dropped;  // destroyed after the mutex
  const std::lock_guard lock(mutex_);
  const auto found = FindLocked(tenant, id);
  if (found == entries_.end() || !found->running) return;
  dropped = std::move(found->cancel);
  found->running = false;
  found->body = std::move(body);
  AddTurnLocked(*found, std::exchange(found->input, {}), std::move(output));
  ShrinkLocked();
}

void ResponseStore::Fail(const std::string& tenant, const std::string& id, const WireError& error) {
  std::function<void()> dropped;  // destroyed after the mutex
  const std::lock_guard lock(mutex_);
  const auto found = FindLocked(tenant, id);
  if (found == entries_.end() || !found->running) return;
  dropped = std::move(found->cancel);
  found->running = false;
  found->body = openai::WriteResponse(found->frame, "failed", &error);
  AddTurnLocked(*found, std::exchange(found->input, {}), "[]");
}

ParseResult<std::optional<std::string>> ResponseStore::Cancel(const std::string& tenant, const std::string& id) {
  std::function<void()> cancel;
  std::string body;
  {
    const std::lock_guard lock(mutex_);
    const auto found = FindLocked(tenant, id);
    if (found == entries_.end()) return std::nullopt;
    if (!found->background) {
      return tl::unexpected(RequestError{
          InvalidArgument("response {} did not run in the background; only such ones can be cancelled", JsonQuote(id)),
          "response_id", "not_in_background"});
    }
    if (found->running) {
      found->running = false;
      found->body = openai::WriteResponse(found->frame, "cancelled");
      AddTurnLocked(*found, std::exchange(found->input, {}), "[]");
      cancel = std::exchange(found->cancel, nullptr);
    }
    body = found->body;
  }
  if (cancel) cancel();
  return body;
}

bool ResponseStore::Remove(const std::string& tenant, const std::string& id) {
  std::function<void()> cancel;
  {
    const std::lock_guard lock(mutex_);
    const auto found = FindLocked(tenant, id);
    if (found == entries_.end()) return false;
    cancel = std::exchange(found->cancel, nullptr);
    EraseLocked(found);
  }
  if (cancel) cancel();
  return true;
}

size_t ResponseStore::num_responses() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

void ResponseStore::AddTurnLocked(Entry& entry, std::string input, std::string output) {
  entry.conversation.push_back(
      std::make_shared<const ConversationTurn>(std::move(input), std::move(output), held_bytes_));
  CountLocked(entry);
}

void ResponseStore::CountLocked(Entry& entry) {
  *held_bytes_ -= entry.bytes;
  entry.bytes = kEntryBytes + entry.body.size() + entry.input.size() + entry.frame.echo.size() + entry.tenant.size() +
                entry.conversation.size() * sizeof(Conversation::value_type);
  *held_bytes_ += entry.bytes;
}

void ResponseStore::EraseLocked(Entries::iterator entry) {
  *held_bytes_ -= entry->bytes;
  entries_.erase(entry);
}

void ResponseStore::ShrinkLocked() {
  while (entries_.size() > limits_.max_responses || *held_bytes_ > limits_.max_bytes) {
    std::map<std::string, size_t> bytes_of;
    for (const Entry& entry : entries_) {
      if (entry.running) continue;
      const ConversationTurn& own = *entry.conversation.back();
      bytes_of[entry.tenant] += entry.bytes + own.input.size() + own.output.size();
    }
    if (bytes_of.empty()) return;
    const std::string most =
        std::ranges::max_element(bytes_of, {}, &std::pair<const std::string, size_t>::second)->first;
    EraseLocked(
        std::ranges::find_if(entries_, [&](const Entry& entry) { return !entry.running && entry.tenant == most; }));
  }
}

}  // namespace lem
