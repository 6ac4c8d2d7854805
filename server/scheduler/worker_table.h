#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "server/scheduler/attempt.h"

namespace calipress::scheduler {

// A worker as last heard of.
struct Worker {
  std::string id;
  std::string session_id;
  // "cpu" or "cuda".
  std::string device;
  std::string rendezvous;
  bool draining = false;
  // False for one known only from a stored lease.
  bool heard = false;
  Time last_heard;
  // Earlier lives, newest first: their reports are not listened to.
  std::deque<std::string> retired_sessions;
};

// Who is there. Not thread-safe; holds no clock.
class WorkerTable {
 public:
  enum class Arrival {
    kKnown,     // this session, again
    kNew,       // a worker not heard of before
    kReplaced,  // a second life: the first one's session has just ended
    kRetired,   // a session that was replaced earlier; the table is unchanged
  };

  Arrival Hear(const Worker& worker, Time now);

  // A worker that a stored lease names; it counts as heard of `now`.
  void Expect(const std::string& id, const std::string& session_id, const std::string& device, Time now);

  // Drops workers not heard of since `before`, except those in `keep` (sorted).
  void Forget(Time before, const std::vector<std::string>& keep);

  const Worker* Find(const std::string& id) const;
  // By id.
  const std::map<std::string, Worker>& all() const { return workers_; }

 private:
  std::map<std::string, Worker> workers_;
};

}  // namespace calipress::scheduler
