#pragma once

#include <memory>
#include <string>

namespace calipress::worker {

// grpc.health.v1 on an address of its own, SERVING while it lives: for probes.
class HealthServer {
 public:
  virtual ~HealthServer() = default;
  // Null where the address cannot be used.
  static std::unique_ptr<HealthServer> Start(const std::string& address);
};

}  // namespace calipress::worker
