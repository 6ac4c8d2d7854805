#include "compress/base/random.h"

#include <set>

#include <gtest/gtest.h>

namespace calipress {
namespace {

// Random123's known answers for philox4x32 with 10 rounds (kat_vectors).
TEST(RandomStream, KnownAnswerOfZeroCounterAndKey) {
  RandomStream stream(0, 0);
  EXPECT_EQ(stream.Next(), 0x6627e8d5u);
  EXPECT_EQ(stream.Next(), 0xe169c58du);
  EXPECT_EQ(stream.Next(), 0xbc57ac4cu);
  EXPECT_EQ(stream.Next(), 0x9b00dbd8u);
}

TEST(RandomStream, StreamsAndSeedsDiffer) {
  std::set<uint32_t> first;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    for (uint64_t stream = 0; stream < 4; ++stream) first.insert(RandomStream(seed, stream).Next());
  }
  EXPECT_EQ(first.size(), 16u);
}

TEST(RandomStream, BelowIsUniformAndInRange) {
  RandomStream stream(1, 2);
  int counts[7] = {};
  for (int i = 0; i < 70000; ++i) ++counts[stream.Below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
  EXPECT_EQ(stream.Below(1), 0u);
}

TEST(RandomStream, UniformStaysBelowOne) {
  RandomStream stream(3, 0);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double value = stream.Uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

}  // namespace
}  // namespace calipress
