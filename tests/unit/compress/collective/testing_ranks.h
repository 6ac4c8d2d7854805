#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/collective/group.h"

namespace calipress::collective::testing {

// What one rank does, in a process of its own. Returns the exit code: 0 is well.
using Role = std::function<int(const GroupOptions& options)>;

// Registers a role under a name, at static initialisation.
struct RegisterRole {
  RegisterRole(const std::string& name, Role role);
};

// Ranks are processes: this program again, with the role in its environment (a fork without exec after torch has
// started threads is not safe). Rank 0's store lies in the test's own process.
class Gang {
 public:
  Gang(const std::string& role, int size);
  ~Gang();
  void Kill(int rank);
  // Exit code, or -signal; -1000 where it did not end in time (then it is killed).
  int Wait(int rank, double seconds = 60);
  // Blocks until the rank has called SayReady; false after 60 seconds.
  bool WaitReady(int rank);

 private:
  struct Process {
    pid_t pid = -1;
    int ready = -1;
  };
  std::unique_ptr<Rendezvous> rendezvous_;
  std::vector<Process> processes_;
};

// In a role: tells the test that this rank has got to the point.
void SayReady();

}  // namespace calipress::collective::testing
