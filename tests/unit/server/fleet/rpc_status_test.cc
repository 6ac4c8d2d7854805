#include "server/fleet/rpc_status.h"

#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"

namespace calipress::fleet {
namespace {

TEST(RpcStatus, CarriesReasonClassAndViolations) {
  const google::rpc::Status rpc =
      ToRpcStatus(ViolationsError(reason::kInvalidRecipe, {{"recipe.steps[0]", "is empty"}, {"model", "must be set"}}));
  EXPECT_EQ(rpc.code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  ASSERT_EQ(rpc.details_size(), 2);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(rpc.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "INVALID_RECIPE");
  EXPECT_EQ(info.domain(), "calipress.dev");
  EXPECT_EQ(info.metadata().at("class"), "user");
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(rpc.details(1).UnpackTo(&bad_request));
  EXPECT_EQ(bad_request.field_violations(1).field(), "model");
}

TEST(RpcStatus, ComesBackTheSame) {
  const absl::Status status = EnvironmentError(reason::kPeerLost, "rank 1 is gone");
  const absl::Status back = FromRpcStatus(ToRpcStatus(status));
  EXPECT_EQ(back.code(), status.code());
  EXPECT_EQ(back.message(), status.message());
  EXPECT_EQ(ErrorReason(back), reason::kPeerLost);
  EXPECT_EQ(ErrorClassOf(back), ErrorClass::kEnvironment);
  EXPECT_TRUE(FromRpcStatus(ToRpcStatus(absl::OkStatus())).ok());
}

// A malformed string would make the whole message unreadable for who receives it.
TEST(RpcStatus, TextIsMadeWellFormed) {
  google::rpc::Status received;
  ASSERT_TRUE(received.ParseFromString(
      ToRpcStatus(UserError(reason::kInvalidCalibrationData, "line 3: '\xC3'")).SerializeAsString()));
  EXPECT_EQ(received.message(), "line 3: '?'");
  ASSERT_TRUE(received.ParseFromString(
      ToRpcStatus(ViolationsError(reason::kInvalidRecipe, {{"recipe.\xFF", "is \xC3"}})).SerializeAsString()));
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(received.details(1).UnpackTo(&bad_request));
  EXPECT_EQ(bad_request.field_violations(0).field().find('\xFF'), std::string::npos);
}

TEST(RpcStatus, WhatIsNotOursBecomesOurs) {
  google::rpc::Status rpc;
  rpc.set_code(4711);
  rpc.set_message(std::string(100000, 'x'));
  const absl::Status bare = FromRpcStatus(rpc);
  EXPECT_EQ(bare.code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(bare.message().size(), kMessageLimit);
  EXPECT_EQ(ErrorClassOf(bare), ErrorClass::kDefect);

  google::rpc::ErrorInfo info;
  info.set_reason("made_up_reason_for_a_metric_label");
  (*info.mutable_metadata())["class"] = "nonsense";
  rpc.set_code(14);
  rpc.add_details()->PackFrom(info);
  const absl::Status strange = FromRpcStatus(rpc);
  EXPECT_EQ(ErrorReason(strange), reason::kInternal);
  EXPECT_EQ(ErrorClassOf(strange), ErrorClass::kEnvironment);
}

TEST(RpcStatus, TextIsCutBetweenCharacters) {
  google::rpc::Status rpc;
  rpc.set_code(13);
  std::string text = "x";
  for (int i = 0; i < 3000; ++i) text += "\xC3\xA9";
  rpc.set_message(text);
  const std::string cut(FromRpcStatus(rpc).message());
  EXPECT_LE(cut.size(), kMessageLimit);
  ASSERT_GE(cut.size(), 5u);
  // The last character before the mark is whole.
  EXPECT_EQ(cut.substr(cut.size() - 5), "\xC3\xA9...");
}

}  // namespace
}  // namespace calipress::fleet
