#include "server/api/error_mapping.h"

#include <google/protobuf/any.pb.h>

#include "compress/base/error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"

namespace calipress::api {
namespace {

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
  EXPECT_EQ(details.message(), status.error_message());
  return details;
}

template <typename T>
std::vector<T> All(const google::rpc::Status& details) {
  std::vector<T> found;
  for (const auto& any : details.details()) {
    T message;
    if (any.UnpackTo(&message)) found.push_back(message);
  }
  return found;
}

TEST(ToGrpcStatus, CarriesReasonClassAndDomain) {
  const grpc::Status status = ToGrpcStatus(PreconditionError(reason::kOutputExists, "output /a is not empty"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "output /a is not empty");
  const auto infos = All<google::rpc::ErrorInfo>(Details(status));
  ASSERT_EQ(infos.size(), 1u);
  EXPECT_EQ(infos[0].reason(), "OUTPUT_EXISTS");
  EXPECT_EQ(infos[0].domain(), "calipress.dev");
  EXPECT_EQ(infos[0].metadata().at("class"), "user");
  EXPECT_TRUE(All<google::rpc::BadRequest>(Details(status)).empty());
}

TEST(ToGrpcStatus, CarriesEveryViolation) {
  const grpc::Status status = ToGrpcStatus(ViolationsError(
      reason::kInvalidRecipe, {{"recipe.steps[0].gptq.bits", "must be 2, 3, 4 or 8"}, {"model", "is required"}}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto requests = All<google::rpc::BadRequest>(Details(status));
  ASSERT_EQ(requests.size(), 1u);
  ASSERT_EQ(requests[0].field_violations_size(), 2);
  EXPECT_EQ(requests[0].field_violations(0).field(), "recipe.steps[0].gptq.bits");
  EXPECT_EQ(requests[0].field_violations(1).description(), "is required");
}

TEST(ToGrpcStatus, FitsIntoTrailingMetadata) {
  std::vector<FieldViolation> violations;
  for (int i = 0; i < 1000; ++i)
    violations.push_back({"recipe.steps[" + std::to_string(i) + "]", std::string(900, 'x')});
  const grpc::Status status = ToGrpcStatus(ViolationsError(reason::kInvalidRecipe, violations));
  EXPECT_LT(status.error_message().size() + status.error_details().size() * 4 / 3, 7500u);
  const auto requests = All<google::rpc::BadRequest>(Details(status));
  ASSERT_EQ(requests.size(), 1u);
  const int kept = requests[0].field_violations_size();
  EXPECT_GT(kept, 4);
  EXPECT_NE(requests[0].field_violations(kept - 1).description().find(std::to_string(1000 - kept) + " more"),
            std::string::npos)
      << requests[0].field_violations(kept - 1).description();
  // Three bytes on the wire for each of these.
  const grpc::Status foreign = ToGrpcStatus(PreconditionError(reason::kOutputExists, [] {
    std::string text;
    for (int i = 0; i < 5000; ++i) text += "\xC3\xA9";
    return text;
  }()));
  EXPECT_LE(foreign.error_message().size() * 3, 1020u);
}

TEST(ToGrpcStatus, IsValidUtf8WhateverTheFileSaid) {
  const grpc::Status status = ToGrpcStatus(PreconditionError(reason::kSourceModelCorrupt, "tensor \xFF\xFEname"));
  EXPECT_EQ(status.error_message(), "tensor ??name");
}

TEST(ToGrpcStatus, DefectsCarryAnIncidentAndOutagesAPause) {
  const auto defect = All<google::rpc::ErrorInfo>(Details(ToGrpcStatus(DefectError("oops"))));
  ASSERT_EQ(defect.size(), 1u);
  EXPECT_EQ(defect[0].metadata().at("incident").size(), 12u);
  const auto outage =
      All<google::rpc::RetryInfo>(Details(ToGrpcStatus(EnvironmentError(reason::kStoreUnavailable, "locked"))));
  ASSERT_EQ(outage.size(), 1u);
  EXPECT_GE(outage[0].retry_delay().seconds(), 1);
}

}  // namespace
}  // namespace calipress::api
