#include "compress/wire/rpc_status.h"

#include <string>
#include <vector>

#include "compress/base/error.h"
#include "compress/base/utf8.h"
#include "google/rpc/error_details.pb.h"

namespace calipress {

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status rpc;
  rpc.set_code(static_cast<int>(status.code()));
  rpc.set_message(BoundedText({status.message().data(), status.message().size()}));
  if (status.ok()) return rpc;
  google::rpc::ErrorInfo info;
  info.set_reason(ErrorReason(status));
  info.set_domain(kErrorDomain);
  (*info.mutable_metadata())["class"] = std::string(ErrorClassName(ErrorClassOf(status)));
  rpc.add_details()->PackFrom(info);
  const std::vector<FieldViolation> violations = Violations(status);
  if (!violations.empty()) {
    google::rpc::BadRequest bad_request;
    for (const FieldViolation& violation : violations) {
      auto* field = bad_request.add_field_violations();
      field->set_field(BoundedText(violation.field));
      field->set_description(BoundedText(violation.description));
    }
    rpc.add_details()->PackFrom(bad_request);
  }
  return rpc;
}

}  // namespace calipress
