#include "compress/checkpoint/spqr_layout.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>

#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/base/random.h"
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::checkpoint {
namespace {

using Tensors = std::map<std::string, SpqrTensorBytes, std::less<>>;

SpqrTensorReader ReaderOf(const Tensors& tensors) {
  return [&tensors](std::string_view name) -> absl::StatusOr<std::optional<SpqrTensorBytes>> {
    const auto found = tensors.find(name);
    if (found == tensors.end()) return std::nullopt;
    return found->second;
  };
}

std::vector<char> RandomNumbers(RandomStream& random, Dtype dtype, int64_t count) {
  std::vector<char> bytes(count * DtypeBytes(dtype));
  for (int64_t i = 0; i < count; ++i) {
    const float value = static_cast<float>(random.Below(2000)) * 0.001f - 1.0f;
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (dtype == Dtype::kF32) {
      std::memcpy(bytes.data() + 4 * i, &bits, 4);
    } else {
      // The upper half of a float is bf16; as f16 any such pattern is some finite number.
      const auto half = static_cast<uint16_t>(dtype == Dtype::kBF16 ? bits >> 16 : random.Below(0x7000));
      std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
  }
  return bytes;
}

SpqrLinear RandomLinear(RandomStream& random, const SpqrScheme& scheme, int64_t out, int64_t in, Dtype dtype) {
  SpqrLinear linear;
  linear.scheme = scheme;
  linear.out = out;
  linear.in = in;
  linear.dtype = dtype;
  const int64_t groups = in / scheme.group_size;
  const int64_t runs = (out + scheme.scale_group_size - 1) / scheme.scale_group_size;
  const auto codes = [&](int64_t count, int bits) {
    std::vector<uint8_t> values(count);
    for (uint8_t& value : values) value = static_cast<uint8_t>(random.Below(1u << bits));
    return values;
  };
  linear.codes = codes(out * in, scheme.bits);
  linear.scale_codes = codes(out * groups, scheme.scale_bits);
  linear.zero_codes = codes(out * groups, scheme.zero_bits);
  linear.scale_grid = RandomNumbers(random, dtype, 2 * runs * groups);
  linear.zero_grid = RandomNumbers(random, dtype, 2 * runs * groups);
  if (scheme.act_order) {
    linear.order.resize(in);
    std::iota(linear.order.begin(), linear.order.end(), 0);
    for (int64_t i = in - 1; i > 0; --i) std::swap(linear.order[i], linear.order[random.Below(i + 1)]);
  }
  linear.outlier_offsets.push_back(0);
  for (int64_t r = 0; r < out; ++r) {
    for (int64_t c = 0; c < in; ++c) {
      if (random.Below(20) == 0) linear.outlier_columns.push_back(static_cast<int32_t>(c));
    }
    linear.outlier_offsets.push_back(static_cast<int32_t>(linear.outlier_columns.size()));
  }
  linear.outlier_values = RandomNumbers(random, dtype, static_cast<int64_t>(linear.outlier_columns.size()));
  return linear;
}

Tensors Encode(const SpqrLinear& linear) {
  const SpqrView view = linear.View();
  std::vector<char> bytes;
  EXPECT_TRUE(EncodeSpqr(view, [&](const void* data, int64_t size) {
                bytes.insert(bytes.end(), static_cast<const char*>(data), static_cast<const char*>(data) + size);
                return absl::OkStatus();
              }).ok());
  Tensors tensors;
  int64_t at = 0;
  for (const TensorPlan& plan :
       SpqrLinearPlan("m", linear.out, linear.in, linear.scheme, linear.dtype, view.Outliers())) {
    const int64_t size = TensorBytes(plan);
    EXPECT_LE(at + size, static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(plan.name.substr(0, 2), "m.");
    tensors[plan.name.substr(2)] = {plan.dtype, plan.shape, {bytes.begin() + at, bytes.begin() + at + size}};
    at += size;
  }
  EXPECT_EQ(at, static_cast<int64_t>(bytes.size()));
  return tensors;
}

TEST(SpqrLayout, RoundTripsOverShapesWidthsAndDtypes) {
  RandomStream random(5, 0);
  for (int trial = 0; trial < 60; ++trial) {
    SpqrScheme scheme;
    scheme.bits = 2 + static_cast<int>(random.Below(3));
    scheme.scale_bits = 1 + static_cast<int>(random.Below(8));
    scheme.zero_bits = 1 + static_cast<int>(random.Below(8));
    scheme.group_size = 8 << random.Below(3);
    scheme.scale_group_size = 1 << random.Below(6);
    scheme.act_order = random.Below(2) == 0;
    const Dtype dtype = std::array{Dtype::kBF16, Dtype::kF16, Dtype::kF32}[random.Below(3)];
    const int64_t out = 1 + static_cast<int64_t>(random.Below(50));
    const int64_t in = scheme.group_size * (1 + static_cast<int64_t>(random.Below(6)));
    const SpqrLinear linear = RandomLinear(random, scheme, out, in, dtype);
    const Tensors tensors = Encode(linear);
    const auto back = DecodeSpqr("m", out, in, scheme, ReaderOf(tensors));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->codes, linear.codes);
    EXPECT_EQ(back->scale_codes, linear.scale_codes);
    EXPECT_EQ(back->zero_codes, linear.zero_codes);
    EXPECT_EQ(back->order, linear.order);
    EXPECT_EQ(back->scale_grid, linear.scale_grid);
    EXPECT_EQ(back->zero_grid, linear.zero_grid);
    EXPECT_EQ(back->outlier_offsets, linear.outlier_offsets);
    EXPECT_EQ(back->outlier_columns, linear.outlier_columns);
    EXPECT_EQ(back->outlier_values, linear.outlier_values);
    EXPECT_EQ(back->dtype, dtype);
  }
}

// Columns beyond 16 signed bits, and beyond 16 bits.
TEST(SpqrLayout, WideRowsKeepTheirColumns) {
  for (const int64_t in : {65536, 65544}) {
    RandomStream random(6, 0);
    SpqrScheme scheme;
    scheme.group_size = 8;
    const SpqrLinear linear = RandomLinear(random, scheme, 2, in, Dtype::kBF16);
    const Tensors tensors = Encode(linear);
    EXPECT_EQ(tensors.at("outlier_columns").dtype, in == 65536 ? Dtype::kI16 : Dtype::kI32);
    const auto back = DecodeSpqr("m", 2, in, scheme, ReaderOf(tensors));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->outlier_columns, linear.outlier_columns);
    EXPECT_GT(back->outlier_columns.back(), 40000);
  }
}

// methods.md 6.4: b + (b_s + b_z) / g + 2 (16 + 16) / (g g2) + 32 per outlier; and what the formula leaves away, the
// offsets of rows, the order and the shape.
TEST(SpqrLayout, TakesTheBitsOfTheFormula) {
  const int64_t out = 512, in = 1024, outliers = 3000;
  int64_t bytes = 0;
  for (const TensorPlan& plan : SpqrLinearPlan("m", out, in, SpqrScheme{}, Dtype::kF16, outliers)) {
    bytes += TensorBytes(plan);
  }
  const double weights = static_cast<double>(out) * in;
  const double formula = 4 + 6.0 / 16 + 64.0 / 256 + 32.0 * outliers / weights;
  const double rest = (32.0 * (out + 1) + 32.0 * in + 128.0) / weights;
  EXPECT_NEAR(8.0 * static_cast<double>(bytes) / weights, formula + rest, 1e-9);
}

// By hand, one row: scale = 2 * 0.25 + 0.5 = 1, zero = 3 * 1 + 4.5 = 7.5; column 1 is an outlier.
TEST(SpqrLayout, DecodesAsTheSpecificationSays) {
  SpqrLinear linear;
  linear.scheme = {.group_size = 4, .scale_group_size = 16, .act_order = true};
  linear.out = 1;
  linear.in = 4;
  linear.dtype = Dtype::kF32;
  linear.order = {2, 0, 3, 1};
  linear.codes = {15, 0, 8, 0};
  linear.scale_codes = {2};
  linear.zero_codes = {3};
  const float scales[2] = {0.25f, 0.5f}, zeros[2] = {1.0f, 4.5f}, kept = -100.0f;
  const auto put = [](const void* data, size_t size) {
    return std::vector<char>(static_cast<const char*>(data), static_cast<const char*>(data) + size);
  };
  linear.scale_grid = put(scales, sizeof scales);
  linear.zero_grid = put(zeros, sizeof zeros);
  linear.outlier_offsets = {0, 1};
  linear.outlier_columns = {1};
  linear.outlier_values = put(&kept, sizeof kept);
  float weight[4];
  DequantizeSpqrRows(linear.View(), 0, 1, weight);
  EXPECT_EQ(std::vector<float>(weight, weight + 4), (std::vector<float>{-7.5f, -100.0f, 7.5f, 0.5f}));
  const Tensors tensors = Encode(linear);
  // Codes in processing order, the first in the lowest bits.
  uint32_t word;
  std::memcpy(&word, tensors.at("weight_packed").bytes.data(), sizeof word);
  EXPECT_EQ(word, 0x080Fu);
}

// Every rounding of halves, against doubles: the value of code 1 with scale v and zero point 0 is v.
TEST(SpqrLayout, RoundsToNearestEven) {
  SpqrLinear linear;
  linear.scheme = {.group_size = 1, .scale_group_size = 1, .act_order = false};
  linear.out = linear.in = 1;
  linear.codes = {3};
  linear.scale_codes = linear.zero_codes = {0};
  linear.outlier_offsets = {0, 0};
  for (const Dtype dtype : {Dtype::kBF16, Dtype::kF16}) {
    linear.dtype = dtype;
    const int mantissa = dtype == Dtype::kBF16 ? 7 : 10;
    for (uint32_t pattern = 1; pattern < 0x7000; pattern += 3) {
      const auto stored = static_cast<uint16_t>(pattern);
      linear.scale_grid.assign(4, 0);
      std::memcpy(linear.scale_grid.data() + 2, &stored, 2);
      linear.zero_grid.assign(4, 0);
      uint16_t got;
      DequantizeSpqrRows(linear.View(), 0, 1, &got);
      const auto value = [&](uint16_t bits) {
        const int exponent = bits >> mantissa, bias = dtype == Dtype::kBF16 ? 127 : 15;
        const int fraction = bits & ((1 << mantissa) - 1);
        return exponent == 0 ? std::ldexp(fraction, 1 - bias - mantissa)
                             : std::ldexp(fraction + (1 << mantissa), exponent - bias - mantissa);
      };
      const double exact = 3.0 * value(stored);
      const double error = std::abs(value(got) - exact);
      const double below = std::abs(value(got - 1) - exact), above = std::abs(value(got + 1) - exact);
      ASSERT_TRUE(error < std::min(below, above) || (error == std::min(below, above) && got % 2 == 0))
          << DtypeName(dtype) << " " << pattern;
    }
  }
}

class SpqrHostile : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomStream random(7, 0);
    linear_ = RandomLinear(random, {}, 20, 64, Dtype::kBF16);
    tensors_ = Encode(linear_);
  }
  void ExpectCorrupt(const std::string& name) {
    const auto decoded = DecodeSpqr("model.x", 20, 64, SpqrScheme{}, ReaderOf(tensors_));
    EXPECT_EQ(ErrorReason(decoded.status()), reason::kSourceModelCorrupt);
    EXPECT_NE(decoded.status().message().find("model.x." + name), std::string::npos) << decoded.status();
  }
  void SetWord(const std::string& name, int64_t at, int32_t value) {
    std::memcpy(tensors_[name].bytes.data() + at * 4, &value, 4);
  }
  SpqrLinear linear_;
  Tensors tensors_;
};

TEST_F(SpqrHostile, EveryTensorIsNeeded) {
  const Tensors whole = tensors_;
  for (const auto& [name, tensor] : whole) {
    tensors_ = whole;
    tensors_.erase(name);
    ExpectCorrupt(name);
    tensors_ = whole;
    tensors_[name].dtype = Dtype::kF64;
    ExpectCorrupt(name);
    tensors_ = whole;
    tensors_[name].shape[0] += 1;
    ExpectCorrupt(name);
    tensors_ = whole;
    tensors_[name].bytes.pop_back();
    ExpectCorrupt(name);
  }
}

TEST_F(SpqrHostile, OrdersThatAreNone) {
  SetWord("weight_order", 3, linear_.order[4]);
  ExpectCorrupt("weight_order");
  SetWord("weight_order", 3, -1);
  ExpectCorrupt("weight_order");
  SetWord("weight_order", 3, 64);
  ExpectCorrupt("weight_order");
}

TEST_F(SpqrHostile, OffsetsThatLeadAstray) {
  const Tensors whole = tensors_;
  for (const auto& [at, value] : std::vector<std::pair<int, int32_t>>{
           {0, 1}, {0, -1}, {5, -7}, {5, 1 << 30}, {20, 0}, {20, std::numeric_limits<int32_t>::max()}}) {
    tensors_ = whole;
    SetWord("outlier_offsets", at, value);
    ExpectCorrupt("outlier_offsets");
  }
  // One more than there are.
  tensors_ = whole;
  SetWord("outlier_offsets", 20, linear_.outlier_offsets[20] + 1);
  ExpectCorrupt("outlier_columns");
}

TEST_F(SpqrHostile, ColumnsBeyondTheWeight) {
  const uint16_t beyond = 64;
  const Tensors whole = tensors_;
  std::memcpy(tensors_["outlier_columns"].bytes.data(), &beyond, 2);
  ExpectCorrupt("outlier_columns");
  tensors_ = whole;
  int64_t row = 0;
  while (linear_.outlier_offsets[row + 1] - linear_.outlier_offsets[row] < 2) ++row;
  char* pair = tensors_["outlier_columns"].bytes.data() + 2 * linear_.outlier_offsets[row];
  std::memcpy(pair + 2, pair, 2);
  ExpectCorrupt("outlier_columns");
}

TEST_F(SpqrHostile, ShapesThatDisagree) {
  const auto other = DecodeSpqr("m", 20, 60, SpqrScheme{}, ReaderOf(tensors_));
  EXPECT_EQ(ErrorReason(other.status()), reason::kSourceModelCorrupt);
  tensors_["weight_shape"].bytes[0] = 21;
  ExpectCorrupt("weight_shape");
}

TEST(SpqrConfig, RoundTrips) {
  const SpqrScheme scheme{
      .bits = 3, .scale_bits = 4, .zero_bits = 5, .group_size = 32, .scale_group_size = 8, .act_order = false};
  const auto text = SpqrConfig(R"({"model_type": "llama", "quantization_config": {"quant_method": "awq"}})", scheme,
                               {"lm_head", "model.layers.0.mlp.up_proj"});
  ASSERT_TRUE(text.ok());
  EXPECT_NE(text->find("\"model_type\": \"llama\""), std::string::npos);
  const auto parsed = ParseSpqrConfig(*text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_TRUE(parsed->has_value());
  EXPECT_EQ((*parsed)->scheme, scheme);
  EXPECT_EQ((*parsed)->dense, (std::vector<std::string>{"lm_head", "model.layers.0.mlp.up_proj"}));
}

TEST(SpqrConfig, LeavesOtherMethodsToOthers) {
  for (const char* text : {"{}", R"({"quantization_config": null})", R"({"quantization_config": {"quant_method": 3}})",
                           R"({"quantization_config": {"quant_method": "gptq"}})"}) {
    const auto parsed = ParseSpqrConfig(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_FALSE(parsed->has_value()) << text;
  }
  EXPECT_EQ(ErrorReason(ParseSpqrConfig("[1]").status()), reason::kSourceModelCorrupt);
}

TEST(SpqrConfig, RefusesOptionsOutOfRange) {
  const std::string text = *SpqrConfig("{}", {}, {});
  ASSERT_TRUE(ParseSpqrConfig(text).ok());
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"bits\": 4", "\"bits\": 5"},
           {"\"bits\": 4", "\"bits\": 18446744073709551615"},
           {"\"scale_bits\": 3", "\"scale_bits\": 0"},
           {"\"zero_bits\": 3", "\"zero_bits\": 9"},
           {"\"group_size\": 16,\n    \"scale_bits", "\"group_size\": 0,\n    \"scale_bits"},
           {"\"scale_group_size\": 16", "\"scale_group_size\": -16"},
           {"\"act_order\": true", "\"act_order\": 1"},
           {"\"version\": 1", "\"version\": 2"},
           {"\"modules_to_not_convert\": []", "\"modules_to_not_convert\": [7]"}}) {
    std::string changed = text;
    const size_t at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    EXPECT_EQ(ErrorReason(ParseSpqrConfig(changed).status()), reason::kUnsupportedModel) << to;
  }
}

}  // namespace
}  // namespace calipress::checkpoint
