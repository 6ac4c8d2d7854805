#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"

namespace calipress {

// A flag that one side raises and the other checks. Copies share the flag. Any thread may call any method.
class CancellationToken {
 public:
  CancellationToken();

  // Raises the flag with a reason; the first reason stays. Runs the callbacks, on this thread.
  void Cancel(absl::Status reason);

  bool cancelled() const;

  // OK, or what Cancel was given.
  absl::Status status() const;

  // Runs `callback` when the flag is raised (at once if it is); the registration ends with the returned object, whose
  // destructor waits for a running callback.
  [[nodiscard]] std::shared_ptr<void> OnCancel(std::function<void()> callback) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace calipress
