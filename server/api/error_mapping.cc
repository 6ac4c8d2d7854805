#include "server/api/error_mapping.h"

#include "absl/strings/str_cat.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
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

// Bytes of the UTF-8 sequence that starts at `at`, 0 where none does.
size_t SequenceLength(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xC2 && first < 0xE0   ? 2
                        : first >= 0xE0 && first < 0xF0 ? 3
                        : first >= 0xF0 && first < 0xF5 ? 4
                                                        : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(at + 1);
  // Overlong forms, surrogates, beyond U+10FFFF.
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
  if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
  return length;
}

// `cost` of a byte beyond ASCII: 3 where it is percent-encoded.
std::string Cut(std::string_view text, size_t limit, size_t cost) {
  std::string kept;
  size_t used = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t length = SequenceLength(text, at);
    const size_t bytes = length > 1 ? length * cost : 1;
    if (used + bytes > limit) return kept + "...";
    kept += length == 0 ? std::string("?") : std::string(text.substr(at, length));
    used += bytes;
    at += std::max<size_t>(length, 1);
  }
  return kept;
}

google::rpc::BadRequest Bounded(const google::rpc::BadRequest& whole) {
  google::rpc::BadRequest bounded;
  size_t used = 0;
  for (const auto& violation : whole.field_violations()) {
    const std::string field = Cut(violation.field(), kViolationBytes, 1);
    const std::string description = Cut(violation.description(), kViolationBytes, 1);
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

std::string BoundedText(std::string_view text, size_t limit) { return Cut(text, limit, 1); }

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status whole = ToRpcStatus(status);
  google::rpc::Status rpc;
  rpc.set_code(whole.code());
  rpc.set_message(Cut(whole.message(), kMessageBytes, 3));
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
