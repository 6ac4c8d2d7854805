#include "compress/collective/group.h"

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/c10d_call.h"
#include "compress/collective/meeting.h"
#include "compress/collective/metered_group.h"
#include "compress/collective/registry.h"
#include "compress/collective/solo_group.h"

namespace calipress::collective {
namespace {

absl::StatusOr<std::unique_ptr<Group>> Join(const BackendFactory& factory, const GroupOptions& options,
                                            const CancellationToken& cancellation) {
  CALIPRESS_ASSIGN_OR_RETURN(const Meeting meeting, Meet(options, cancellation));
  absl::StatusOr<std::unique_ptr<Group>> group = DefectError("the backend made no group");
  CALIPRESS_RETURN_IF_ERROR(CallC10d("cannot connect the ranks", [&] { group = factory(meeting, cancellation); }));
  return group;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Group>> JoinGroup(const std::string& backend, const GroupOptions& options,
                                                 const CancellationToken& cancellation) {
  if (options.size < 1 || options.rank < 0 || options.rank >= options.size) {
    return DefectError("rank " + std::to_string(options.rank) + " of " + std::to_string(options.size) +
                       " ranks is not possible");
  }
  if (cancellation.cancelled()) return cancellation.status();
  if (options.size == 1) return MakeSoloGroup();
  const BackendFactory factory = FindBackend(backend);
  if (!factory) {
    return EnvironmentError(reason::kDeviceUnavailable,
                            "no collective backend \"" + backend +
                                "\" in this worker; nccl needs `device: cuda` and the CUDA module beside the program");
  }
  auto group = Join(factory, options, cancellation);
  if (!group.ok()) {
    // Where both are true, the reason is the cancellation and not its consequence.
    const absl::Status status = cancellation.cancelled() ? cancellation.status() : group.status();
    CountJoinFailure(status);
    return status;
  }
  return MeterGroup(*std::move(group), backend);
}

bool IsAvailable(const std::string& backend) { return static_cast<bool>(FindBackend(backend)); }

}  // namespace calipress::collective
