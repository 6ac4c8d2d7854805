#include "server/api/error_mapping.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/utf8.h"
#include "compress/wire/rpc_status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace calipress::api {
namespace {

// As bytes on the wire: the message goes percent-encoded in one header, and once more, in base64, within the details.
constexpr size_t kMessageBytes = 1000;
constexpr size_t kViolationBytes = 300;
constexpr size_t kAllViolationsBytes = 2200;
constexpr int64_t kRetrySeconds = 1;

// As BoundedText, where a byte beyond ASCII takes three: it is percent-encoded.
std::string BoundedHeader(std::string_view text, size_t limit) {
  size_t used = 0;
  size_t at = 0;
  while (at < text.size()) {
    const size_t bytes = CharacterBytes(text.substr(at));
    used += bytes > 1 ? 3 * bytes : 1;
    if (used > limit) return BoundedText(text.substr(0, at)) + "...";
    at += std::max<size_t>(bytes, 1);
  }
  return BoundedText(text);
}

google::rpc::BadRequest Bounded(const google::rpc::BadRequest& whole) {
  google::rpc::BadRequest bounded;
  size_t used = 0;
  for (const auto& violation : whole.field_violations()) {
    const std::string field = BoundedText(violation.field(), kViolationBytes);
    const std::string description = BoundedText(violation.description(), kViolationBytes);
    used += field.size() + description.size() + 8;
    auto* added = bounded.add_field_violations();
    if (used > kAllViolationsBytes) {
      added->set_field(field);
      added->set_description(absl::StrCat("wrong, as are ",
                                          whole.field_violations_size() - bounded.field_violations_size(),
                                          " more fields: correct those above and ask again"));
      break;
    }
    added->set_field(field);
    added->set_description(description);
  }
  return bounded;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status whole = ToRpcStatus(status);
  google::rpc::Status rpc;
  rpc.set_code(whole.code());
  rpc.set_message(BoundedHeader(whole.message(), kMessageBytes));
  for (const google::protobuf::Any& detail : whole.details()) {
    google::rpc::BadRequest bad_request;
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&bad_request)) {
      rpc.add_details()->PackFrom(Bounded(bad_request));
    } else if (detail.UnpackTo(&info) && status.code() == absl::StatusCode::kInternal) {
      const std::string incident = RandomId().substr(0, 12);
      (*info.mutable_metadata())["incident"] = incident;
      rpc.add_details()->PackFrom(info);
      LogError("a request failed through a defect", {{"incident", incident}, {"error", std::string(status.message())}});
    } else {
      *rpc.add_details() = detail;
    }
  }
  if (status.code() == absl::StatusCode::kUnavailable) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(kRetrySeconds);
    rpc.add_details()->PackFrom(retry);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), rpc.message(), rpc.SerializeAsString());
}

}  // namespace calipress::api
