#include "compress/base/error.h"

#include <set>

#include <gtest/gtest.h>

#include "calipress/v1/error_reason.pb.h"
#include "compress/base/digest.h"

namespace calipress {
namespace {

TEST(Error, CarriesReasonAndClass) {
  const absl::Status status = EnvironmentError(reason::kStorageUnavailable, "no answer");
  EXPECT_EQ(ErrorReason(status), "STORAGE_UNAVAILABLE");
  EXPECT_EQ(ErrorClassOf(status), ErrorClass::kEnvironment);
  const absl::Status annotated = Annotate(status, "block 3");
  EXPECT_EQ(annotated.message(), "block 3: no answer");
  EXPECT_EQ(ErrorReason(annotated), "STORAGE_UNAVAILABLE");
  EXPECT_EQ(ErrorClassOf(annotated), ErrorClass::kEnvironment);
}

TEST(Error, ViolationsSurviveTheRoundTrip) {
  const absl::Status status =
      ViolationsError(reason::kInvalidRecipe, {{"recipe.a", "too big"}, {"recipe.b\xff", "no"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const auto violations = Violations(status);
  ASSERT_EQ(violations.size(), 2u);
  EXPECT_EQ(violations[0].field, "recipe.a");
  EXPECT_EQ(violations[0].description, "too big");
}

TEST(Error, ForeignStatusesHaveAClassToo) {
  EXPECT_EQ(ErrorClassOf(absl::NotFoundError("x")), ErrorClass::kUser);
  EXPECT_EQ(ErrorClassOf(absl::UnavailableError("x")), ErrorClass::kEnvironment);
  EXPECT_EQ(ErrorClassOf(absl::InternalError("x")), ErrorClass::kDefect);
  EXPECT_EQ(ErrorReason(absl::InternalError("x")), "INTERNAL");
}

TEST(Digest, KnownAnswer) {
  EXPECT_EQ(Sha256Of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Digest, RandomIdsDiffer) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(RandomId());
  EXPECT_EQ(ids.size(), 1000u);
  EXPECT_EQ(ids.begin()->size(), 32u);
}

}  // namespace
}  // namespace calipress
