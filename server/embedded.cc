#include "server/embedded.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/status_macros.h"
#include "server/server.h"

namespace calipress::server {

struct EmbeddedCoordinator::State {
  std::unique_ptr<Server> server;
};

absl::StatusOr<std::unique_ptr<EmbeddedCoordinator>> EmbeddedCoordinator::Start(const EmbeddedOptions& options) {
  ServerOptions server;
  server.database = options.database_path;
  server.grpc.listen = "127.0.0.1:0";
  server.grpc.reflection = false;
  // Loopback costs nothing, and a small job should not spend its time waiting for the next call.
  server.coordinator.idle_synchronize_seconds = 0.1;
  server.coordinator.busy_synchronize_seconds = 0.25;
  server.coordinator.tick_seconds = 0.1;
  server.coordinator.progress_seconds = 0.2;
  auto state = std::make_unique<State>();
  CALIPRESS_ASSIGN_OR_RETURN(state->server, Server::Start(server));
  return std::unique_ptr<EmbeddedCoordinator>(new EmbeddedCoordinator(std::move(state)));
}

EmbeddedCoordinator::EmbeddedCoordinator(std::unique_ptr<State> state) : state_(std::move(state)) {}

EmbeddedCoordinator::~EmbeddedCoordinator() = default;

std::string EmbeddedCoordinator::address() const { return absl::StrCat("127.0.0.1:", state_->server->port()); }

void EmbeddedCoordinator::Stop() { state_->server->Stop(); }

}  // namespace calipress::server
