#include "compress/base/cancellation.h"

#include <gtest/gtest.h>

namespace calipress {
namespace {

TEST(CancellationToken, CallbacksRunOnceWithTheFirstReason) {
  CancellationToken token;
  int calls = 0;
  auto registration = token.OnCancel([&] { ++calls; });
  EXPECT_TRUE(token.status().ok());
  token.Cancel(absl::AbortedError("first"));
  token.Cancel(absl::AbortedError("second"));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(token.status().message(), "first");
}

TEST(CancellationToken, DroppedRegistrationDoesNotRun) {
  CancellationToken token;
  int calls = 0;
  {
    auto registration = token.OnCancel([&] { ++calls; });
  }
  token.Cancel(absl::OkStatus());
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(token.cancelled());
  EXPECT_FALSE(token.status().ok());
}

TEST(CancellationToken, LateRegistrationRunsAtOnce) {
  CancellationToken token;
  const CancellationToken copy = token;
  token.Cancel(absl::CancelledError("now"));
  int calls = 0;
  auto registration = copy.OnCancel([&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace calipress
