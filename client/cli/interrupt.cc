#include "client/cli/interrupt.h"

#include <csignal>
#include <ctime>

#include "absl/status/status.h"
#include "compress/base/thread.h"

namespace calipress::cli {
namespace {

sigset_t Handled() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

Interrupt::Interrupt() {
  const sigset_t set = Handled();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = StartThread("interrupt", [this] {
    const sigset_t handled = Handled();
    const timespec slice = {0, 100'000'000};
    while (!over_) {
      if (sigtimedwait(&handled, nullptr, &slice) < 0) continue;
      const absl::Status why = absl::CancelledError("interrupted");
      if (first_.cancelled()) second_.Cancel(why);
      first_.Cancel(why);
    }
  });
}

Interrupt::~Interrupt() {
  over_ = true;
  thread_.join();
  const sigset_t set = Handled();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace calipress::cli
