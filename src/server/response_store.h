// Responses that clients may ask for again or go on from, in memory: bounded in number and bytes, each seen only by
// whom it was made for. When there are too many, the oldest of whoever has the most go. Nothing outlives the process.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/openai/responses_response.h"
#include "api/request_error.h"

namespace lem {

// What one request adds to a conversation. Immutable.
class ConversationTurn {
 public:
  ConversationTurn(std::string input, std::string output, std::shared_ptr<std::atomic<size_t>> held_bytes);
  ~ConversationTurn();
  ConversationTurn(const ConversationTurn&) = delete;
  ConversationTurn& operator=(const ConversationTurn&) = delete;

  const std::string input, output;  // JSON arrays of items

 private:
  const std::shared_ptr<std::atomic<size_t>> held_bytes_;  // of the store, which may be gone before
};
// The oldest turn first. Shared by the responses that go on from each other.
using Conversation = std::vector<std::shared_ptr<const ConversationTurn>>;

struct ResponseStoreLimits {
  size_t max_responses = 1024;
  size_t max_bytes = size_t{64} << 20;
  size_t max_turns = 4096;  // of one conversation
};

// Thread-safe. `tenant` is whom a response belongs to; nobody else finds it.
class ResponseStore {
 public:
  explicit ResponseStore(ResponseStoreLimits limits = {});

  // Earlier turns of a response that is over, and its own. Errors: InvalidArgument (none by that id, not over, too many
  // turns).
  ParseResult<Conversation> FindConversation(const std::string& tenant, const std::string& id) const;

  struct Found {
    std::string body;           // the response object
    Conversation conversation;  // with the turn of its own
  };
  std::optional<Found> Find(const std::string& tenant, const std::string& id) const;

  // A response that is over.
  void Put(const std::string& tenant, const std::string& id, std::string body, Conversation earlier, std::string input,
           std::string output);

  // A response that runs in the background. Error: ResourceExhausted (nothing but such ones in the store).
  Status Begin(const std::string& tenant, openai::ResponseFrame frame, Conversation earlier, std::string input);
  // Calls `cancel` when the response is cancelled or deleted; at once if it is already.
  void SetCancel(const std::string& tenant, const std::string& id, std::function<void()> cancel);
  // It is over, unless it was cancelled before.
  void Complete(const std::string& tenant, const std::string& id, std::string body, std::string output);
  void Fail(const std::string& tenant, const std::string& id, const WireError& error);
  // The response afterwards: one that is over stays as it is. nullopt: there is none. Errors: InvalidArgument (it never
  // ran in the background).
  ParseResult<std::optional<std::string>> Cancel(const std::string& tenant, const std::string& id);

  // False: there is none. What goes on from it keeps its items.
  bool Remove(const std::string& tenant, const std::string& id);

  size_t num_responses() const;
  size_t num_bytes() const { return *held_bytes_; }

 private:
  struct Entry {
    std::string tenant;
    openai::ResponseFrame frame;  // of those in the background
    std::string body;
    Conversation conversation;  // the last turn is its own, once it is over
    std::string input;          // until then
    bool background = false, running = false;
    std::function<void()> cancel;
    size_t bytes = 0;  // of this entry, without its turns
  };
  using Entries = std::list<Entry>;

  Entries::iterator FindLocked(const std::string& tenant, const std::string& id);
  Entries::const_iterator FindLocked(const std::string& tenant, const std::string& id) const;
  void AddTurnLocked(Entry& entry, std::string input, std::string output);
  void CountLocked(Entry& entry);
  void EraseLocked(Entries::iterator entry);
  // Makes room; what runs stays.
  void ShrinkLocked();

  const ResponseStoreLimits limits_;
  const std::shared_ptr<std::atomic<size_t>> held_bytes_;  // by entries and turns; shared with the turns
  mutable std::mutex mutex_;
  Entries entries_;  // guarded by mutex_; the oldest first
};

}  // namespace lem
