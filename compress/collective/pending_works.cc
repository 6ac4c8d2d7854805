#include "compress/collective/pending_works.h"

#include <exception>

#include "compress/base/error.h"

namespace calipress::collective {
namespace {

void End(c10d::Work& work) {
  try {
    work.abort();
  } catch (const std::exception&) {
    // NCCL's works cannot be ended one by one and say so by throwing; a hook of their group ends them all.
  }
}

}  // namespace

uint64_t PendingWorks::Add(c10::intrusive_ptr<c10d::Work> work) {
  std::lock_guard lock(mutex_);
  if (!failure_.ok()) End(*work);
  works_.emplace(next_id_, std::move(work));
  return next_id_++;
}

void PendingWorks::Remove(uint64_t id) {
  c10::intrusive_ptr<c10d::Work> work;  // goes after the lock does
  std::lock_guard lock(mutex_);
  const auto found = works_.find(id);
  if (found == works_.end()) return;
  work = std::move(found->second);
  works_.erase(found);
}

void PendingWorks::Fail(const absl::Status& failure) {
  std::lock_guard hooks_lock(hooks_mutex_);
  {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) return;
    failure_ = failure;
    for (auto& [id, work] : works_) End(*work);
  }
  for (const auto& hook : hooks_) hook();
  hooks_.clear();
}

absl::Status PendingWorks::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void PendingWorks::OnFailure(std::function<void()> hook) {
  std::lock_guard hooks_lock(hooks_mutex_);
  if (failure().ok()) {
    hooks_.push_back(std::move(hook));
  } else {
    hook();
  }
}

void PendingWorks::Close() {
  std::lock_guard hooks_lock(hooks_mutex_);
  hooks_.clear();
  std::lock_guard lock(mutex_);
  if (!failure_.ok()) return;
  failure_ = DefectError("the group was left while a transfer was under way");
  for (auto& [id, work] : works_) End(*work);
}

}  // namespace calipress::collective
