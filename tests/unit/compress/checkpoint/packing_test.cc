#include <numeric>

#include <gtest/gtest.h>

#include "compress/base/random.h"
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::checkpoint {
namespace {

std::vector<uint32_t> Pack(std::vector<int> codes, int bits) {
  std::vector<int8_t> bytes(codes.begin(), codes.end());
  std::vector<int32_t> words(PackedWords(bytes.size(), bits));
  PackRows(bytes.data(), 1, bytes.size(), bits, words.data());
  return {words.begin(), words.end()};
}

// What the library's own packer writes (formats.md 7.1).
TEST(Packing, GoldenVectors) {
  EXPECT_EQ(Pack({-8, -7, -1, 0, 1, 2, 6, 7}, 4), (std::vector<uint32_t>{0xFEA98710}));
  EXPECT_EQ(Pack({-128, -1, 0, 127}, 8), (std::vector<uint32_t>{0xFF807F00}));
  std::vector<int> two, three;
  for (int i = 0; i < 16; ++i) two.push_back(i % 4 - 2);
  EXPECT_EQ(Pack(two, 2), (std::vector<uint32_t>{0xE4E4E4E4}));
  for (int i = 0; i < 32; ++i) three.push_back(i % 8 - 4);
  EXPECT_EQ(Pack(three, 3), (std::vector<uint32_t>{0x88FAC688, 0xC688FAC6, 0xFAC688FA}));
  std::vector<int> five, six;
  for (int i = 0; i < 32; ++i) five.push_back(i - 16);
  EXPECT_EQ(Pack(five, 5), (std::vector<uint32_t>{0x8A418820, 0xC5A92839, 0xCA307B9A, 0x38BDAB49, 0xFFBBCDEB}));
  for (int i = 0; i < 16; ++i) six.push_back(i - 32);
  EXPECT_EQ(Pack(six, 6), (std::vector<uint32_t>{0x440C2040, 0xA2481C61, 0x3CE34C2C}));
}

TEST(Packing, EightZeroPointsOfZero) {
  const std::vector<int8_t> zeros(8, 0);
  std::vector<int32_t> words(1);
  PackColumns(zeros.data(), 8, 1, 4, words.data());
  EXPECT_EQ(static_cast<uint32_t>(words[0]), 0x88888888u);
}

TEST(Packing, TailBitsAreZero) {
  EXPECT_EQ(Pack({7}, 4), (std::vector<uint32_t>{0xF}));
  EXPECT_EQ(Pack({3, 3, 3}, 3), (std::vector<uint32_t>{0x1FF}));
}

TEST(Packing, RoundTripsOverShapesAndWidths) {
  RandomStream random(7, 0);
  for (int trial = 0; trial < 200; ++trial) {
    const int bits = 2 + static_cast<int>(random.Below(7));
    const int64_t rows = 1 + random.Below(40), columns = 1 + random.Below(70);
    std::vector<int8_t> codes(rows * columns), back(codes.size());
    for (int8_t& code : codes)
      code = static_cast<int8_t>(static_cast<int>(random.Below(1u << bits)) - (1 << (bits - 1)));
    std::vector<int32_t> words(rows * PackedWords(columns, bits));
    PackRows(codes.data(), rows, columns, bits, words.data());
    UnpackRows(words.data(), rows, columns, bits, back.data());
    ASSERT_EQ(codes, back) << bits << " bits, " << rows << " x " << columns;
    words.assign(PackedWords(rows, bits) * columns, 0);
    PackColumns(codes.data(), rows, columns, bits, words.data());
    UnpackColumns(words.data(), rows, columns, bits, back.data());
    ASSERT_EQ(codes, back) << bits << " bits along rows, " << rows << " x " << columns;
  }
}

}  // namespace
}  // namespace calipress::checkpoint
