#include "compress/tensor/guard.h"

#include <stdexcept>
#include <string>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"

namespace calipress::tensor {
namespace {

TEST(Guard, PassesAStatusThrough) {
  EXPECT_TRUE(Guard("forward", [] { return absl::OkStatus(); }).ok());
  absl::Status status = Guard("forward", [] { return UserError(reason::kInvalidRecipe, "bits: 5"); });
  EXPECT_EQ(ErrorReason(status), reason::kInvalidRecipe);
  EXPECT_EQ(status.message(), "bits: 5");
}

TEST(Guard, TorchErrorIsADefectWithoutItsStack) {
  absl::Status status = Guard("forward", [] {
    at::mm(at::zeros({2, 3}), at::zeros({2, 3}));
    return absl::OkStatus();
  });
  EXPECT_EQ(ErrorReason(status), reason::kInternal);
  EXPECT_EQ(ErrorClassOf(status), ErrorClass::kDefect);
  EXPECT_EQ(std::string(status.message()).find('\n'), std::string::npos);
  EXPECT_EQ(std::string(status.message()).rfind("forward: ", 0), 0u);
}

TEST(Guard, AnAllocationBeyondTheMachineIsOutOfMemory) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer ends the process at such an allocation";
#endif
  absl::Status status = Guard("forward", [] {
    at::empty({int64_t{1} << 56}, at::kByte);
    return absl::OkStatus();
  });
  EXPECT_EQ(ErrorReason(status), reason::kOutOfMemory) << status;
  EXPECT_EQ(ErrorClassOf(status), ErrorClass::kEnvironment);
}

TEST(Guard, BadAllocIsOutOfMemory) {
  absl::Status status = Guard("forward", []() -> absl::Status { throw std::bad_alloc(); });
  EXPECT_EQ(ErrorReason(status), reason::kOutOfMemory);
}

TEST(Guard, LostPeers) {
  absl::Status store = Guard("receive", []() -> absl::Status { C10_THROW_ERROR(DistNetworkError, "reset"); });
  EXPECT_EQ(ErrorReason(store), reason::kPeerLost);
  EXPECT_EQ(ErrorClassOf(store), ErrorClass::kEnvironment);
  absl::Status gloo = Guard("receive", []() -> absl::Status {
    throw std::runtime_error("[/pytorch/third_party/gloo/transport/tcp/pair.cc:534] Connection closed by peer");
  });
  EXPECT_EQ(ErrorReason(gloo), reason::kPeerLost);
}

TEST(Guard, AnythingElseIsADefect) {
  EXPECT_EQ(ErrorClassOf(Guard("x", []() -> absl::Status { throw 1; })), ErrorClass::kDefect);
  EXPECT_EQ(ErrorClassOf(Guard("x", []() -> absl::Status { throw std::logic_error("?"); })), ErrorClass::kDefect);
}

}  // namespace
}  // namespace calipress::tensor
