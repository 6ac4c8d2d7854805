#include "compress/base/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace calipress {
namespace {

constexpr char kReasonUrl[] = "calipress.dev/reason";
constexpr char kClassUrl[] = "calipress.dev/class";
constexpr char kViolationsUrl[] = "calipress.dev/violations";

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

std::string_view ErrorClassName(ErrorClass error_class) {
  switch (error_class) {
    case ErrorClass::kUser:
      return "user";
    case ErrorClass::kEnvironment:
      return "environment";
    case ErrorClass::kDefect:
      return "defect";
  }
  return "defect";
}

absl::Status MakeError(absl::StatusCode code, std::string_view reason, ErrorClass error_class,
                       std::string_view message) {
  absl::Status status(code, Absl(message));
  status.SetPayload(kReasonUrl, absl::Cord(Absl(reason)));
  status.SetPayload(kClassUrl, absl::Cord(Absl(ErrorClassName(error_class))));
  return status;
}

absl::Status UserError(std::string_view reason, std::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, ErrorClass::kUser, message);
}

absl::Status PreconditionError(std::string_view reason, std::string_view message) {
  return MakeError(absl::StatusCode::kFailedPrecondition, reason, ErrorClass::kUser, message);
}

absl::Status EnvironmentError(std::string_view reason, std::string_view message) {
  return MakeError(absl::StatusCode::kUnavailable, reason, ErrorClass::kEnvironment, message);
}

absl::Status DefectError(std::string_view message) {
  return MakeError(absl::StatusCode::kInternal, reason::kInternal, ErrorClass::kDefect, message);
}

absl::Status ViolationsError(std::string_view reason, const std::vector<FieldViolation>& violations) {
  std::string message = violations.size() == 1 ? "" : absl::StrCat(violations.size(), " fields are wrong: ");
  nlohmann::json list = nlohmann::json::array();
  for (size_t i = 0; i < violations.size(); ++i) {
    absl::StrAppend(&message, i == 0 ? "" : "; ", violations[i].field, ": ", violations[i].description);
    list.push_back({{"field", violations[i].field}, {"description", violations[i].description}});
  }
  absl::Status status = UserError(reason, message);
  status.SetPayload(kViolationsUrl, absl::Cord(list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  return status;
}

std::string ErrorReason(const absl::Status& status) {
  if (auto payload = status.GetPayload(kReasonUrl)) return std::string(*payload);
  if (status.code() == absl::StatusCode::kCancelled) return std::string(reason::kCancelled);
  return std::string(reason::kInternal);
}

ErrorClass ErrorClassOf(const absl::Status& status) {
  if (auto payload = status.GetPayload(kClassUrl)) {
    const std::string name(*payload);
    if (name == "user") return ErrorClass::kUser;
    if (name == "environment") return ErrorClass::kEnvironment;
    return ErrorClass::kDefect;
  }
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
      return ErrorClass::kUser;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
      return ErrorClass::kEnvironment;
    default:
      return ErrorClass::kDefect;
  }
}

std::vector<FieldViolation> Violations(const absl::Status& status) {
  std::vector<FieldViolation> violations;
  auto payload = status.GetPayload(kViolationsUrl);
  if (!payload) return violations;
  const auto list = nlohmann::json::parse(std::string(*payload), nullptr, false);
  if (!list.is_array()) return violations;
  for (const auto& item : list) violations.push_back({item.value("field", ""), item.value("description", "")});
  return violations;
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(Absl(context), ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

}  // namespace calipress
