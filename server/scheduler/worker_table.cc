#include "server/scheduler/worker_table.h"

#include <algorithm>

namespace calipress::scheduler {
namespace {

constexpr size_t kRetiredSessions = 8;

}  // namespace

WorkerTable::Arrival WorkerTable::Hear(const Worker& worker, Time now) {
  auto [it, inserted] = workers_.try_emplace(worker.id, worker);
  Worker& known = it->second;
  Arrival arrival = Arrival::kKnown;
  if (inserted) {
    arrival = Arrival::kNew;
  } else if (known.session_id != worker.session_id) {
    if (std::find(known.retired_sessions.begin(), known.retired_sessions.end(), worker.session_id) !=
        known.retired_sessions.end()) {
      return Arrival::kRetired;
    }
    known.retired_sessions.push_front(known.session_id);
    if (known.retired_sessions.size() > kRetiredSessions) known.retired_sessions.pop_back();
    arrival = Arrival::kReplaced;
  }
  known.session_id = worker.session_id;
  known.device = worker.device;
  known.rendezvous = worker.rendezvous;
  known.draining = worker.draining;
  known.heard = true;
  known.last_heard = now;
  return arrival;
}

void WorkerTable::Expect(const std::string& id, const std::string& session_id, const std::string& device, Time now) {
  auto [it, inserted] = workers_.try_emplace(id);
  if (!inserted) return;
  it->second.id = id;
  it->second.session_id = session_id;
  it->second.device = device;
  it->second.last_heard = now;
}

void WorkerTable::Forget(Time before, const std::vector<std::string>& keep) {
  std::erase_if(workers_, [&](const auto& entry) {
    return entry.second.last_heard < before && !std::binary_search(keep.begin(), keep.end(), entry.first);
  });
}

const Worker* WorkerTable::Find(const std::string& id) const {
  const auto it = workers_.find(id);
  return it == workers_.end() ? nullptr : &it->second;
}

}  // namespace calipress::scheduler
