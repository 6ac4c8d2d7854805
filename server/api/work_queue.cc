#include "server/api/work_queue.h"

#include <utility>

#include "compress/base/thread.h"

namespace calipress::api {

WorkQueue::WorkQueue(std::string_view name, int threads, size_t limit) : limit_(limit) {
  for (int i = 0; i < threads; ++i) threads_.push_back(StartThread(name, [this] { Run(); }));
}

bool WorkQueue::Add(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_ || tasks_.size() >= limit_) return false;
    tasks_.push_back(std::move(task));
  }
  news_.notify_one();
  return true;
}

void WorkQueue::Stop() {
  std::deque<Task> waiting;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    waiting.swap(tasks_);
  }
  news_.notify_all();
  for (const Task& task : waiting) task(false);
  threads_.clear();  // joins
}

void WorkQueue::Run() {
  while (true) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      news_.wait(lock, [this] { return stopped_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task(true);
  }
}

}  // namespace calipress::api
