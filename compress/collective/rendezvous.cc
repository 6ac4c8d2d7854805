#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/c10d_call.h"
#include "compress/collective/group.h"

namespace calipress::collective {
namespace {

class TcpRendezvous : public Rendezvous {
 public:
  explicit TcpRendezvous(c10::intrusive_ptr<c10d::TCPStore> store) : store_(std::move(store)) {}
  int port() const override { return store_->getPort(); }

 private:
  c10::intrusive_ptr<c10d::TCPStore> store_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Rendezvous>> Rendezvous::Listen(int port) {
  if (port < 0 || port > 65535) {
    return PreconditionError(reason::kInvalidRequest,
                             "rendezvous port " + std::to_string(port) + " is not between 0 and 65535");
  }
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port);
  options.isServer = true;
  options.waitWorkers = false;
  c10::intrusive_ptr<c10d::TCPStore> store;
  const absl::Status status = CallC10d("cannot listen", [&] {
    // The server listens on every interface; the name is for its own client.
    store = c10::make_intrusive<c10d::TCPStore>("localhost", options);
  });
  if (!status.ok()) {
    return EnvironmentError(reason::kInternal, "cannot listen on rendezvous port " + std::to_string(port) + " (" +
                                                   std::string(status.message()) +
                                                   "); is it taken? 0 picks a free one");
  }
  return std::make_unique<TcpRendezvous>(std::move(store));
}

}  // namespace calipress::collective
