#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

namespace calipress::api {

// A few threads for calls that wait for storage, so that gRPC's own threads never do. Thread-safe.
class WorkQueue {
 public:
  // Is given false where the queue has stopped before it got to the task: then it only says so to whoever waits.
  using Task = std::function<void(bool run)>;

  // At most `limit` tasks wait.
  WorkQueue(std::string_view name, int threads, size_t limit);
  ~WorkQueue() { Stop(); }
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  // False, without a call, where too many wait or the queue has stopped.
  bool Add(Task task);

  // Waits for the tasks under way; those that wait are called with false. Later calls do nothing.
  void Stop();

 private:
  void Run();

  const size_t limit_;
  std::mutex mutex_;
  std::condition_variable news_;
  std::deque<Task> tasks_;  // guarded by mutex_
  bool stopped_ = false;    // guarded by mutex_
  std::vector<std::jthread> threads_;
};

}  // namespace calipress::api
