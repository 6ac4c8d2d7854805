#include "compress/collective/pending_works.h"

#include <exception>

namespace calipress::collective {
namespace {

void End(c10d::Work& work) {
  try {
    work.abort();
  } catch (const std::exception&) {
    // Backends whose works cannot be ended one by one say so by throwing; PendingWorks::abort_ ends those.
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
  c10::intrusive_ptr<c10d::Work> work;  // destroyed outside the lock
  std::lock_guard lock(mutex_);
  const auto found = works_.find(id);
  if (found == works_.end()) return;
  work = std::move(found->second);
  works_.erase(found);
}

void PendingWorks::Fail(const absl::Status& failure) {
  {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) return;
    failure_ = failure;
    for (auto& [id, work] : works_) End(*work);
  }
  if (abort_) abort_();
}

absl::Status PendingWorks::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

}  // namespace calipress::collective
