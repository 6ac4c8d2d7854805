#include "client/lib/rpc_error.h"

#include <string>
#include <vector>

#include "compress/base/error.h"
#include "google/rpc/error_details.pb.h"

namespace calipress::client {
namespace {

ErrorClass ClassFromName(const std::string& name, ErrorClass otherwise) {
  for (const ErrorClass known : {ErrorClass::kUser, ErrorClass::kEnvironment, ErrorClass::kDefect}) {
    if (ErrorClassName(known) == name) return known;
  }
  return otherwise;
}

}  // namespace

absl::Status FromRpcStatus(const google::rpc::Status& status) {
  const auto code = static_cast<absl::StatusCode>(status.code());
  absl::Status plain(code, status.message());
  if (plain.ok()) return plain;
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  for (const auto& detail : status.details()) {
    // A detail that cannot be unpacked is one this version does not know: the rest still holds.
    if (detail.Is<google::rpc::ErrorInfo>()) detail.UnpackTo(&info);
    if (detail.Is<google::rpc::BadRequest>()) detail.UnpackTo(&bad_request);
  }
  const bool has_reason = !info.reason().empty();
  if (bad_request.field_violations_size() > 0 && code == absl::StatusCode::kInvalidArgument) {
    std::vector<FieldViolation> violations;
    for (const auto& violation : bad_request.field_violations()) {
      violations.push_back({violation.field(), violation.description()});
    }
    return ViolationsError(has_reason ? info.reason() : std::string(reason::kInvalidRequest), violations);
  }
  if (!has_reason) return plain;
  const auto found = info.metadata().find("class");
  const std::string class_name = found == info.metadata().end() ? "" : found->second;
  return MakeError(code, info.reason(), ClassFromName(class_name, ErrorClassOf(plain)), status.message());
}

}  // namespace calipress::client
