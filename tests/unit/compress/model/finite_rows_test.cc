#include "compress/model/finite_rows.h"

#include <cstring>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace calipress::model {
namespace {

TEST(FiniteRows, FindsOneBadValueAnywhere) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (size_t position = 0; position < 70; ++position) {
      std::vector<float> row(70, std::numeric_limits<float>::max());
      std::vector<uint32_t> bits(70);
      std::vector<uint16_t> upper(70);
      for (const bool damaged : {false, true}) {
        if (damaged) row[position] = bad;
        std::memcpy(bits.data(), row.data(), 70 * sizeof(float));
        for (size_t i = 0; i < 70; ++i) upper[i] = static_cast<uint16_t>(bits[i] >> 16);
        EXPECT_EQ(FiniteRow32(bits.data(), 70), !damaged);
        EXPECT_EQ(FiniteRow16(upper.data(), 70, 0x7f80), !damaged);
      }
    }
  }
}

TEST(FiniteRows, KnowsTheExponentOfHalf) {
  const std::vector<uint16_t> largest = {0x7bff, 0xfbff, 0x0000};
  const std::vector<uint16_t> infinite = {0x0000, 0xfc00};
  EXPECT_TRUE(FiniteRow16(largest.data(), 3, 0x7c00));
  EXPECT_FALSE(FiniteRow16(infinite.data(), 2, 0x7c00));
}

}  // namespace
}  // namespace calipress::model
