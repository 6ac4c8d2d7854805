#include "server/fleet/rpc_status.h"

#include <google/rpc/code.pb.h>
#include <google/rpc/error_details.pb.h>

#include "calipress/v1/error_reason.pb.h"
#include "compress/base/error.h"
#include "server/fleet/report_bounds.h"

namespace calipress::fleet {

absl::Status FromRpcStatus(const google::rpc::Status& rpc) {
  if (rpc.code() == 0) return absl::OkStatus();
  const std::string message = CutText(rpc.message(), kMessageLimit);
  const absl::StatusCode code =
      google::rpc::Code_IsValid(rpc.code()) ? static_cast<absl::StatusCode>(rpc.code()) : absl::StatusCode::kUnknown;
  const absl::Status bare(code, message);
  for (const google::protobuf::Any& detail : rpc.details()) {
    google::rpc::ErrorInfo info;
    if (!detail.UnpackTo(&info)) continue;
    v1::ErrorReason known;
    std::string reason(reason::kInternal);
    if (v1::ErrorReason_Parse(info.reason(), &known)) reason = info.reason();
    ErrorClass error_class = ErrorClassOf(bare);
    if (const auto it = info.metadata().find("class"); it != info.metadata().end()) {
      for (const ErrorClass candidate : {ErrorClass::kUser, ErrorClass::kEnvironment, ErrorClass::kDefect}) {
        if (it->second == ErrorClassName(candidate)) error_class = candidate;
      }
    }
    return MakeError(code, reason, error_class, message);
  }
  return bare;
}

}  // namespace calipress::fleet
