#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace calipress::server {

struct EmbeddedOptions {
  // ":memory:" or a file.
  std::string database_path;
};

// A coordinator inside another program, on a free port of loopback, with short intervals: for one job and workers on
// the same machine.
class EmbeddedCoordinator {
 public:
  static absl::StatusOr<std::unique_ptr<EmbeddedCoordinator>> Start(const EmbeddedOptions& options);
  ~EmbeddedCoordinator();

  // "127.0.0.1:port".
  std::string address() const;
  // Waits for the publication under way.
  void Stop();

 private:
  struct State;
  explicit EmbeddedCoordinator(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace calipress::server
