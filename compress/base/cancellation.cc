#include "compress/base/cancellation.h"

#include <map>
#include <mutex>

namespace calipress {

struct CancellationToken::State {
  // Recursive: a callback may drop its own registration.
  std::recursive_mutex mutex;
  bool cancelled = false;
  absl::Status reason;
  int next_id = 0;
  std::map<int, std::function<void()>> callbacks;
};

CancellationToken::CancellationToken() : state_(std::make_shared<State>()) {}

void CancellationToken::Cancel(absl::Status reason) {
  std::lock_guard lock(state_->mutex);
  if (state_->cancelled) return;
  state_->cancelled = true;
  state_->reason = reason.ok() ? absl::CancelledError("cancelled") : std::move(reason);
  auto callbacks = std::move(state_->callbacks);
  state_->callbacks.clear();
  for (auto& [id, callback] : callbacks) callback();
}

bool CancellationToken::cancelled() const {
  std::lock_guard lock(state_->mutex);
  return state_->cancelled;
}

absl::Status CancellationToken::status() const {
  std::lock_guard lock(state_->mutex);
  return state_->reason;
}

std::shared_ptr<void> CancellationToken::OnCancel(std::function<void()> callback) const {
  std::lock_guard lock(state_->mutex);
  if (state_->cancelled) {
    callback();
    return nullptr;
  }
  const int id = state_->next_id++;
  state_->callbacks[id] = std::move(callback);
  return std::shared_ptr<void>(nullptr, [state = state_, id](void*) {
    std::lock_guard lock(state->mutex);
    state->callbacks.erase(id);
  });
}

}  // namespace calipress
