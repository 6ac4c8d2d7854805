#include "compress/collective/gloo_backend.h"

#include <net/if.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/c10d_call.h"

namespace calipress::collective {

absl::StatusOr<c10::intrusive_ptr<c10d::Backend>> ConnectGloo(const Meeting& meeting, const std::string& name) {
  const GroupOptions& options = meeting.options;
  auto gloo_options = c10d::ProcessGroupGloo::Options::create(meeting.connect_timeout);
  // Collectives are built from transfers here; the threads that would run Gloo's own have nothing to do.
  gloo_options->threads = 1;
  const absl::Status device = CallC10d("no network device", [&] {
    gloo_options->devices.push_back(if_nametoindex(options.host.c_str()) != 0
                                        ? c10d::ProcessGroupGloo::createDeviceForInterface(options.host)
                                        : c10d::ProcessGroupGloo::createDeviceForHostname(options.host));
  });
  if (!device.ok()) {
    return EnvironmentError(reason::kDeviceUnavailable,
                            "cannot listen for peers on \"" + options.host + "\" (" + std::string(device.message()) +
                                "); set the worker's `host` to an address or interface of its own machine");
  }
  c10::intrusive_ptr<c10d::Backend> backend;
  CALIPRESS_RETURN_IF_ERROR(CallC10d("cannot connect the " + std::to_string(options.size) + " ranks", [&] {
    backend = c10::make_intrusive<c10d::ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>(name, meeting.store),
                                                          options.rank, options.size, gloo_options);
  }));
  return backend;
}

}  // namespace calipress::collective
