#pragma once

#include <string>

#include "absl/status/status.h"
#include "compress/base/clock.h"

namespace calipress::store {

// Times one call of a job store: calipress_jobstore_request_duration_seconds{operation} and
// calipress_jobstore_errors_total{operation}. `operation` comes from a closed set.
class StoreCall {
 public:
  explicit StoreCall(std::string operation) : operation_(std::move(operation)) {}
  ~StoreCall();
  StoreCall(const StoreCall&) = delete;
  StoreCall& operator=(const StoreCall&) = delete;

  // Takes note of a failure of the store itself (UNAVAILABLE or INTERNAL); returns the status as it is.
  absl::Status Note(absl::Status status);

 private:
  std::string operation_;
  Stopwatch watch_;
};

}  // namespace calipress::store
