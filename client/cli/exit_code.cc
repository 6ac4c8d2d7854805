#include "client/cli/exit_code.h"

#include "client/lib/compression_client.h"
#include "compress/base/error.h"

namespace calipress::cli {

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kDone;
  if (client::IsServerAway(status)) return kServerNotReached;
  // A defect, of the server or here, is no refusal: the same request may be fine.
  return ErrorClassOf(status) == ErrorClass::kDefect ? kJobFailed : kRefused;
}

ExitCode ExitCodeOf(v1::CompressionJob::State state) {
  return state == v1::CompressionJob::SUCCEEDED ? kDone : kJobFailed;
}

}  // namespace calipress::cli
