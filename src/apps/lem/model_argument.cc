#include "apps/lem/model_argument.h"

#include "apps/lem/progress_line.h"
#include "apps/lem/terminal.h"

namespace lem {

Result<ModelRef> ResolveOrPull(const std::string& name_or_path) {
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelStore> store, ModelStore::Open());
  Result<ModelRef> found = store->Resolve(name_or_path);
  const bool can_pull = !LooksLikePath(name_or_path) && store->catalogue().Find(name_or_path) != nullptr;
  if (found.ok() || found.status().code() != StatusCode::kNotFound || !can_pull) return found;
  ProgressLine line;
  PullObserver observer;
  observer.on_progress = [&](const PullProgress& progress) { line.Show(progress); };
  observer.on_note = [&](const std::string& note) { line.Note(note); };
  LEM_TRY(store->Pull(name_or_path, observer, CancelOnInterrupt()).status());
  return store->Resolve(name_or_path);
}

}  // namespace lem
