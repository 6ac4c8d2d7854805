#include "compress/checkpoint/formats/linear_format.h"

#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/checkpoint/number_formats.h"
#include "testing_codes.h"

namespace calipress::checkpoint {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::OfWords;
using testing::RandomLinear;
using testing::SourceOf;
using testing::Store;
using testing::StoredTensors;
using testing::Words;

// Eight outputs of eight inputs with one scale each: code [r][i] is `code(r, i)`, unsigned.
template <typename Code>
CodesLinear EightByEight(Code code, bool symmetric = true) {
  CodesLinear linear{{4, 8, symmetric}, 8, 8, {}, Dtype::kF16, {}, {}, {}};
  for (int r = 0; r < 8; ++r) {
    for (int i = 0; i < 8; ++i) linear.codes.push_back(static_cast<int8_t>(code(r, i) - 8));
  }
  for (int r = 0; r < 8; ++r) linear.scales.insert(linear.scales.end(), {0x00, 0x3c});  // 1.0
  return linear;
}

// formats.md section 8, from packers that are not ours.
TEST(Gptq, GoldenVectors) {
  // Packed along the inputs: output r is column r, and its first input the lowest nibble.
  const StoredTensors tensors = Store(Gptq(), "m", EightByEight([](int r, int i) { return (i + r) % 16; }));
  EXPECT_EQ(tensors.at("m.qweight").shape, (std::vector<int64_t>{1, 8}));
  EXPECT_THAT(Words(tensors.at("m.qweight")), ElementsAre(0x76543210, 0x87654321, 0x98765432, 0xa9876543, 0xba987654,
                                                          0xcba98765, 0xdcba9876, 0xedcba987));
  EXPECT_THAT(Words(tensors.at("m.qzeros")), ElementsAre(0x77777777));
  EXPECT_EQ(tensors.at("m.scales").shape, (std::vector<int64_t>{1, 8}));
  EXPECT_THAT(Words(tensors.at("m.g_idx")), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
  const StoredTensors wide = Store(Gptq(), "m", RandomLinear({8, 4, true}, 8, 16, Dtype::kF16, 1));
  EXPECT_EQ(wide.at("m.qweight").shape, (std::vector<int64_t>{4, 8}));
  EXPECT_THAT(Words(wide.at("m.qzeros")), Each(0x7f7f7f7fu));
  EXPECT_THAT(Words(wide.at("m.g_idx")), ElementsAre(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
}

// A zero point of 0 borrows from its neighbour, and the reader gives it back.
TEST(Gptq, ZeroPointsLessOneBorrowOverWholeWords) {
  CodesLinear linear = EightByEight([](int, int i) { return i; }, /*symmetric=*/false);
  for (const int zero : {0, 3, 8, 15, 1, 2, 4, 5}) linear.zero_points.push_back(static_cast<int8_t>(zero - 8));
  StoredTensors tensors = Store(Gptq(), "m", linear);
  EXPECT_THAT(Words(tensors.at("m.qzeros")), ElementsAre(0x4310e71f));
  EXPECT_EQ(Gptq().Decode("m", 8, 8, linear.scheme, SourceOf(tensors))->zero_points, linear.zero_points);
  tensors["m.qzeros"] = OfWords({1, 1}, {0x5421f830});
  EXPECT_EQ(GptqV2().Decode("m", 8, 8, linear.scheme, SourceOf(tensors))->zero_points, linear.zero_points);
}

// The same file under the wrong label loads silently elsewhere, and is garbage.
TEST(Gptq, WrongLabelOfTheVersionIsRefused) {
  const CodesLinear linear = EightByEight([](int r, int) { return r; });
  StoredTensors tensors = Store(Gptq(), "m", linear);
  const auto second = GptqV2().Decode("m", 8, 8, linear.scheme, SourceOf(tensors));
  EXPECT_EQ(ErrorReason(second.status()), reason::kSourceModelCorrupt);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("m.qzeros has a zero point of 7"));
  tensors["m.qzeros"] = OfWords({1, 1}, {0x88888888});
  const auto first = Gptq().Decode("m", 8, 8, linear.scheme, SourceOf(tensors));
  EXPECT_THAT(std::string(first.status().message()), HasSubstr("checkpoint_format"));
  EXPECT_TRUE(GptqV2().Decode("m", 8, 8, linear.scheme, SourceOf(tensors)).ok());
}

TEST(Gptq, GroupsOutOfOrderAreRefused) {
  const CodesLinear linear = RandomLinear({4, 8, true}, 8, 16, Dtype::kF16, 1);
  StoredTensors tensors = Store(Gptq(), "m", linear);
  std::vector<uint32_t> order(16);
  std::iota(order.rbegin(), order.rend(), 0);
  tensors["m.g_idx"] = OfWords({16}, order);
  EXPECT_THAT(std::string(Gptq().Decode("m", 8, 16, linear.scheme, SourceOf(tensors)).status().message()),
              HasSubstr("m.g_idx"));
  tensors.erase("m.g_idx");  // loaders that need none drop it
  EXPECT_TRUE(Gptq().Decode("m", 8, 16, linear.scheme, SourceOf(tensors)).ok());
}

// formats.md section 9: outputs 0 to 7 with codes 0 to 7.
TEST(Awq, GoldenVectors) {
  CodesLinear linear = EightByEight([](int r, int) { return r; });
  const StoredTensors tensors = Store(Awq(), "m", linear);
  EXPECT_EQ(tensors.at("m.qweight").shape, (std::vector<int64_t>{8, 1}));
  EXPECT_THAT(Words(tensors.at("m.qweight")), Each(0x75316420u));
  EXPECT_THAT(Words(tensors.at("m.qzeros")), ElementsAre(0x88888888));
  EXPECT_FALSE(tensors.contains("m.g_idx"));
  linear.scheme.symmetric = false;
  for (int r = 0; r < 8; ++r) linear.zero_points.push_back(static_cast<int8_t>(r - 8));
  EXPECT_THAT(Words(Store(Awq(), "m", linear).at("m.qzeros")), ElementsAre(0x75316420));
}

TEST(Awq, SymmetricGridsHaveTheMiddleAsZeroPoint) {
  CodesLinear linear = RandomLinear({4, 8, false}, 16, 32, Dtype::kF16, 3);
  linear.zero_points[5] = 1;
  const StoredTensors tensors = Store(Awq(), "m", linear);
  const auto symmetric = Awq().Decode("m", 16, 32, {4, 8, true}, SourceOf(tensors));
  EXPECT_THAT(std::string(symmetric.status().message()), HasSubstr("m.qzeros"));
  EXPECT_TRUE(Awq().Decode("m", 16, 32, linear.scheme, SourceOf(tensors)).ok());
}

TEST(LinearFormat, RoundTripsToTheSameCodes) {
  for (const LinearFormat* format : {&CompressedTensors(), &Gptq(), &GptqV2(), &Awq()}) {
    for (const int bits : {2, 3, 4, 8}) {
      if (format == &Awq() ? bits != 4 : format != &CompressedTensors() && bits == 3) continue;
      for (const bool symmetric : {true, false}) {
        for (const int64_t group : {-1, 16, 96}) {
          const CodesLinear linear =
              RandomLinear(QuantizationScheme{bits, group, symmetric}.Normalized(), 80, 96, Dtype::kF16, 7 + bits);
          const StoredTensors tensors = Store(*format, "model.layers.0.q", linear);
          // Ranges as threads take them.
          const auto run = [](int64_t rows, const std::function<void(int64_t, int64_t)>& work) {
            for (int64_t begin = 0; begin < rows; begin += 7) work(begin, std::min(rows, begin + 7));
          };
          const auto back = format->Decode("model.layers.0.q", 80, 96, linear.scheme, SourceOf(tensors), run);
          ASSERT_TRUE(back.ok()) << format->name() << bits << symmetric << group << back.status();
          EXPECT_EQ(back->codes, linear.codes);
          EXPECT_EQ(back->scales, linear.scales);
          EXPECT_EQ(back->zero_points, linear.zero_points);
        }
      }
    }
  }
}

// Schemes whose codes are not packed: a number of 8 bits each.
std::vector<QuantizationScheme> PlainSchemes() {
  std::vector<QuantizationScheme> schemes;
  for (const Strategy strategy : {Strategy::kChannel, Strategy::kTensor, Strategy::kBlock}) {
    for (const Activations activations : {Activations::kNone, Activations::kDynamic, Activations::kStatic}) {
      schemes.push_back({8, -1, true, NumberType::kFloat, strategy, activations});
      if (activations == Activations::kNone || strategy == Strategy::kBlock) continue;
      for (const bool symmetric : {true, false}) {
        schemes.push_back({8, -1, symmetric, NumberType::kInt, strategy, activations});
      }
    }
  }
  return schemes;
}

TEST(LinearFormat, PlainNumbersRoundTripAndDamageIsNamed) {
  for (const QuantizationScheme& scheme : PlainSchemes()) {
    const CodesLinear linear = RandomLinear(scheme, 150, 256, Dtype::kBF16, 11);
    const StoredTensors whole = Store(CompressedTensors(), "m", linear);
    const auto back = CompressedTensors().Decode("m", 150, 256, scheme, SourceOf(whole));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->codes, linear.codes);
    EXPECT_EQ(back->scales, linear.scales);
    EXPECT_EQ(back->zero_points, linear.zero_points);
    EXPECT_EQ(back->input_scale, linear.input_scale);
    for (const auto& [name, tensor] : whole) {
      StoredTensors damaged = whole;
      damaged[name].dtype = Dtype::kU8;
      damaged[name].bytes.resize(tensor.bytes.size() / DtypeBytes(tensor.dtype));
      const auto refused = CompressedTensors().Decode("m", 150, 256, scheme, SourceOf(damaged));
      EXPECT_EQ(ErrorReason(refused.status()), reason::kSourceModelCorrupt) << name;
      EXPECT_THAT(std::string(refused.status().message()), HasSubstr(name));
    }
  }
}

TEST(DequantizeRows, E4m3IsWhatItsBitsSay) {
  // Each code once, with scale 1: sign, four bits of exponent (bias 7), three of fraction; multiples of 2^-9 below
  // 2^-6.
  CodesLinear linear{{8, -1, true, NumberType::kFloat, Strategy::kTensor}, 1, 256, {}, Dtype::kF32, {}, {}, {}};
  for (int code = 0; code < 256; ++code) linear.codes.push_back(static_cast<int8_t>(code));
  const float one = 1.0f;
  linear.scales.resize(4);
  std::memcpy(linear.scales.data(), &one, 4);
  std::vector<float> weight(256);
  DequantizeRows(linear.View(), 0, 1, weight.data());
  for (int code = 0; code < 256; ++code) {
    const int exponent = code >> 3 & 15, fraction = code & 7;
    const double size = exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(1.0 + fraction / 8.0, exponent - 7);
    if ((code & 127) == 127) {
      EXPECT_TRUE(std::isnan(weight[code])) << code;
    } else {
      EXPECT_EQ(weight[code], code < 128 ? size : -size) << code;
    }
  }
  EXPECT_EQ(weight[0x7e], kLargestE4m3);
}

TEST(LinearFormat, DamagedTensorsAreNamed) {
  for (const LinearFormat* format : {&CompressedTensors(), &Gptq(), &Awq()}) {
    const CodesLinear linear = RandomLinear({4, 8, format == &Gptq()}, 16, 32, Dtype::kF16, 3);
    const StoredTensors whole = Store(*format, "m", linear);
    for (const auto& [name, tensor] : whole) {
      if (name == "m.g_idx") continue;
      StoredTensors damaged = whole;
      damaged.erase(name);
      const auto missing = format->Decode("m", 16, 32, linear.scheme, SourceOf(damaged));
      EXPECT_EQ(ErrorReason(missing.status()), reason::kSourceModelCorrupt) << name;
      EXPECT_THAT(std::string(missing.status().message()), HasSubstr(name));
      damaged[name] = tensor;
      damaged[name].shape.push_back(1);
      EXPECT_THAT(std::string(format->Decode("m", 16, 32, linear.scheme, SourceOf(damaged)).status().message()),
                  HasSubstr(name));
      damaged[name] = tensor;
      damaged[name].bytes.pop_back();
      EXPECT_THAT(std::string(format->Decode("m", 16, 32, linear.scheme, SourceOf(damaged)).status().message()),
                  HasSubstr(name));
      damaged[name] = tensor;
      damaged[name].dtype = Dtype::kU8;
      EXPECT_FALSE(format->Decode("m", 16, 32, linear.scheme, SourceOf(damaged)).ok());
    }
    EXPECT_FALSE(format->Decode("m", 16, 33, linear.scheme, SourceOf(whole)).ok());
    EXPECT_FALSE(format->Decode("m", 12, 32, linear.scheme, SourceOf(whole)).ok());
  }
}

TEST(DequantizeRows, IsTheRoundedProduct) {
  for (const Dtype dtype : {Dtype::kF16, Dtype::kBF16, Dtype::kF32}) {
    const CodesLinear linear = RandomLinear({8, 4, false}, 4, 8, dtype, 5);
    std::vector<char> weight(4 * 8 * DtypeBytes(dtype));
    DequantizeRows(linear.View(), 0, 4, weight.data());
    for (int64_t i = 0; i < 32; ++i) {
      const auto read = [&](const std::vector<char>& bytes, int64_t at) {
        float value;
        uint16_t half;
        std::memcpy(&value, bytes.data() + at * 4, dtype == Dtype::kF32 ? 4 : 0);
        std::memcpy(&half, bytes.data() + at * 2, dtype == Dtype::kF32 ? 0 : 2);
        return dtype == Dtype::kF32 ? value : dtype == Dtype::kF16 ? F16::Load(half) : Bf16::Load(half);
      };
      // Scales are powers of two and multiples have 9 bits: exact but in bf16, where odd ones above 256 are not there.
      EXPECT_EQ(read(weight, i), (linear.codes[i] - linear.zero_points[i / 4]) * read(linear.scales, i / 4));
    }
  }
}

}  // namespace
}  // namespace calipress::checkpoint
