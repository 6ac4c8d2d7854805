#include "compress/model/weights.h"

#include <unistd.h>

#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/storage/object_store.h"

namespace calipress::model {
namespace {

using arch::Role;
using arch::TensorSpec;
using testing::HasSubstr;

Dtype DtypeOf(const at::Tensor& tensor) {
  const std::map<at::ScalarType, Dtype> dtypes = {
      {at::kBFloat16, Dtype::kBF16},        {at::kHalf, Dtype::kF16}, {at::kFloat, Dtype::kF32},
      {at::kDouble, Dtype::kF64},           {at::kInt, Dtype::kI32},  {at::kLong, Dtype::kI64},
      {at::kFloat8_e4m3fn, Dtype::kF8E4M3}, {at::kChar, Dtype::kI8}};
  return dtypes.at(tensor.scalar_type());
}

// A checkpoint on disk, made of the tensors that a test puts into `tensors`.
class CheckpointWeightsTest : public testing::Test {
 protected:
  CheckpointWeightsTest()
      : folder_(std::filesystem::path(testing::TempDir()) / ("weights" + std::to_string(getpid()))) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~CheckpointWeightsTest() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<at::Tensor> Load(const TensorSpec& tensor, at::ScalarType dtype = at::kFloat,
                                  std::string_view config = "{}") {
    const std::string file = (folder_ / "model.safetensors").string();
    std::filesystem::remove(file);
    std::vector<checkpoint::TensorPlan> plan;
    for (const auto& [name, value] : tensors) plan.push_back({name, DtypeOf(value), value.sizes().vec()});
    auto writer = checkpoint::SafetensorsWriter::Create(*store_, file, plan);
    EXPECT_TRUE(writer.ok()) << writer.status();
    for (const auto& [name, value] : tensors) {
      const at::Tensor contiguous = value.contiguous();
      EXPECT_TRUE((*writer)->Append(contiguous.const_data_ptr(), contiguous.nbytes()).ok());
    }
    EXPECT_TRUE((*writer)->Close().ok());
    reader_ = *checkpoint::ModelReader::Open(*store_, folder_.string());
    auto quantization = checkpoint::ParseQuantizationConfig(config);
    EXPECT_TRUE(quantization.ok()) << quantization.status();
    return CheckpointWeights(*reader_, *quantization, dtype, at::kCPU)->Load(tensor);
  }

  std::map<std::string, at::Tensor> tensors;

 private:
  std::filesystem::path folder_;
  std::unique_ptr<storage::ObjectStore> store_ = storage::OpenObjectStore();
  std::unique_ptr<checkpoint::ModelReader> reader_;
};

constexpr char kModule[] = "model.layers.0.mlp.up_proj";
TensorSpec UpProjection(int64_t out, int64_t in) { return {Role::kUp, std::string(kModule) + ".weight", {out, in}}; }

TEST_F(CheckpointWeightsTest, ConvertsEveryFloat) {
  const at::Tensor value = at::randn({5, 7});
  for (const at::ScalarType stored : {at::kBFloat16, at::kHalf, at::kFloat, at::kDouble}) {
    for (const at::ScalarType wanted : {at::kBFloat16, at::kHalf, at::kFloat}) {
      tensors[UpProjection(5, 7).name] = value.to(stored);
      const auto loaded = Load(UpProjection(5, 7), wanted);
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      EXPECT_TRUE(at::equal(*loaded, value.to(stored).to(wanted)));
    }
  }
}

TEST_F(CheckpointWeightsTest, NamesWhatIsMissingOrMisshapen) {
  tensors["other"] = at::zeros({1});
  const auto missing = Load(UpProjection(5, 7));
  EXPECT_EQ(ErrorReason(missing.status()), reason::kSourceModelCorrupt);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("model.layers.0.mlp.up_proj.weight"));
  tensors[UpProjection(5, 7).name] = at::zeros({7, 5});
  const auto misshapen = Load(UpProjection(5, 7));
  EXPECT_EQ(ErrorReason(misshapen.status()), reason::kSourceModelCorrupt);
  EXPECT_THAT(std::string(misshapen.status().message()), HasSubstr("[7, 5]"));
  EXPECT_THAT(std::string(misshapen.status().message()), HasSubstr("[5, 7]"));
}

TEST_F(CheckpointWeightsTest, RefusesNaNAndInfinity) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
      at::Tensor value = at::randn({5, 7}).to(dtype);
      value[4][6] = bad;
      tensors[UpProjection(5, 7).name] = value;
      const auto loaded = Load(UpProjection(5, 7), at::kBFloat16);
      EXPECT_EQ(ErrorReason(loaded.status()), reason::kNonFiniteWeights);
      EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("model.layers.0.mlp.up_proj.weight"));
    }
  }
}

TEST_F(CheckpointWeightsTest, TellsOverflowFromDamage) {
  tensors[UpProjection(1, 2).name] = at::full({1, 2}, 1e6, at::kBFloat16);
  EXPECT_TRUE(Load(UpProjection(1, 2), at::kFloat).ok());
  const auto loaded = Load(UpProjection(1, 2), at::kHalf);
  EXPECT_EQ(ErrorReason(loaded.status()), reason::kNonFiniteWeights);
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("wider dtype"));
}

TEST_F(CheckpointWeightsTest, RefusesDtypesThatAreNoWeights) {
  tensors[UpProjection(1, 2).name] = at::zeros({1, 2}, at::kInt);
  EXPECT_EQ(ErrorReason(Load(UpProjection(1, 2)).status()), reason::kSourceModelCorrupt);
  tensors[UpProjection(1, 2).name] = at::zeros({1, 2}).to(at::kFloat8_e4m3fn);
  EXPECT_EQ(ErrorReason(Load(UpProjection(1, 2)).status()), reason::kUnsupportedModel);
}

std::string PackedConfig(int bits, int64_t group_size, bool symmetric) {
  const std::string strategy =
      group_size < 0 ? R"("channel")" : R"("group", "group_size": )" + std::to_string(group_size);
  return R"({"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized",
      "quantization_status": "compressed", "ignore": ["lm_head"],
      "config_groups": {"group_0": {"targets": ["Linear"], "format": "pack-quantized",
        "input_activations": null, "output_activations": null, "weights": {"num_bits": )" +
         std::to_string(bits) + R"(, "type": "int", "symmetric": )" + (symmetric ? "true" : "false") +
         R"(, "strategy": )" + strategy + R"(, "dynamic": false}}}}})";
}

// Random codes, scales and zero points of a linear [out, in], packed; and the weight that they stand for.
struct PackedLinear {
  std::map<std::string, at::Tensor> tensors;
  at::Tensor weight;
};
PackedLinear MakePacked(int64_t out, int64_t in, int bits, int64_t group_size, bool symmetric) {
  const int64_t groups = group_size < 0 ? 1 : in / group_size;
  const int64_t half = int64_t{1} << (bits - 1);
  const at::Tensor codes = at::randint(-half, half, {out, in}, at::kLong).to(at::kChar);
  const at::Tensor scale = (at::rand({out, groups}) + 0.1).to(at::kBFloat16);
  at::Tensor words = at::empty({out, checkpoint::PackedWords(in, bits)}, at::kInt);
  checkpoint::PackRows(codes.const_data_ptr<int8_t>(), out, in, bits, words.mutable_data_ptr<int32_t>());
  PackedLinear linear;
  const std::string module = kModule;
  linear.tensors[module + ".weight_packed"] = words;
  linear.tensors[module + ".weight_scale"] = scale;
  linear.tensors[module + ".weight_shape"] = at::tensor({out, in}, at::kLong);
  at::Tensor zero = at::zeros({out, groups}, at::kChar);
  if (!symmetric) {
    zero = at::randint(-half, half, {out, groups}, at::kLong).to(at::kChar);
    at::Tensor zero_words = at::empty({checkpoint::PackedWords(out, bits), groups}, at::kInt);
    checkpoint::PackColumns(zero.const_data_ptr<int8_t>(), out, groups, bits, zero_words.mutable_data_ptr<int32_t>());
    linear.tensors[module + ".weight_zero_point"] = zero_words;
  }
  const at::Tensor steps = codes.to(at::kFloat) - zero.to(at::kFloat).repeat_interleave(in / groups, 1);
  linear.weight = (steps * scale.to(at::kFloat).repeat_interleave(in / groups, 1)).to(at::kBFloat16);
  return linear;
}

TEST_F(CheckpointWeightsTest, DequantizesPackedLinears) {
  for (const int bits : {2, 3, 4, 5, 8}) {
    for (const int64_t group_size : {-1, 16, 64}) {
      for (const bool symmetric : {true, false}) {
        const PackedLinear linear = MakePacked(33, 128, bits, group_size, symmetric);
        tensors = linear.tensors;
        const auto loaded = Load(UpProjection(33, 128), at::kBFloat16, PackedConfig(bits, group_size, symmetric));
        ASSERT_TRUE(loaded.ok()) << loaded.status();
        EXPECT_TRUE(at::equal(*loaded, linear.weight)) << bits << " bits, group " << group_size << ", " << symmetric;
      }
    }
  }
}

// The config of one scheme for all linears.
std::string ConfigOf(const checkpoint::QuantizationScheme& scheme) {
  const auto config = checkpoint::QuantizedConfig("{}", {{kModule, scheme}}, {"lm_head"});
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

TEST_F(CheckpointWeightsTest, DequantizesCodesOfEightBits) {
  using checkpoint::NumberType;
  using checkpoint::Strategy;
  const std::string module = kModule;
  const int64_t out = 150, in = 256;
  for (const Strategy strategy : {Strategy::kChannel, Strategy::kTensor, Strategy::kBlock, Strategy::kGroup}) {
    for (const NumberType type : {NumberType::kInt, NumberType::kFloat}) {
      for (const bool symmetric : {true, false}) {
        if (type == NumberType::kFloat && !symmetric) continue;
        checkpoint::QuantizationScheme scheme{8, strategy == Strategy::kGroup ? 64 : -1, symmetric, type, strategy};
        scheme.activations = checkpoint::Activations::kStatic;
        const int64_t rows = scheme.ScaleRows(out), groups = scheme.Groups(in);
        at::Tensor codes = at::randint(-128, 128, {out, in}, at::kLong).to(at::kChar);
        if (type == NumberType::kFloat) codes = codes.to(at::kFloat).mul(3.5).to(at::kFloat8_e4m3fn);
        const at::Tensor scale = (at::rand({rows, groups}) + 0.1).to(at::kBFloat16);
        const at::Tensor zero = at::randint(-128, 128, {rows, groups}, at::kLong).to(at::kChar);
        const std::vector<int64_t> shape =
            strategy == Strategy::kTensor ? std::vector<int64_t>{1} : scale.sizes().vec();
        tensors = {{module + ".weight", codes},
                   {module + ".weight_scale", scale.view(shape)},
                   {module + ".input_scale", at::ones({1})}};
        if (!symmetric) tensors[module + ".weight_zero_point"] = zero.view(shape);
        const auto loaded = Load(UpProjection(out, in), at::kBFloat16, ConfigOf(scheme));
        ASSERT_TRUE(loaded.ok()) << loaded.status();
        const int64_t height = scheme.RowsPerScale(out), width = scheme.GroupWidth(in);
        for (int64_t i = 0; i < out; i += 13) {
          for (int64_t j = 0; j < in; j += 11) {
            const at::Tensor multiple =
                codes[i][j].to(at::kBFloat16) -
                (symmetric ? at::zeros({}, at::kBFloat16) : zero[i / height][j / width].to(at::kBFloat16));
            EXPECT_EQ((*loaded)[i][j].item<float>(), (multiple * scale[i / height][j / width]).item<float>());
          }
        }
      }
    }
  }
}

TEST_F(CheckpointWeightsTest, RefusesCodesThatDoNotFit) {
  const checkpoint::QuantizationScheme scheme{8, -1, true, checkpoint::NumberType::kFloat,
                                              checkpoint::Strategy::kChannel};
  const std::string module = kModule;
  tensors = {{module + ".weight", at::zeros({4, 8}, at::kChar)}, {module + ".weight_scale", at::ones({4, 1})}};
  EXPECT_THAT(std::string(Load(UpProjection(4, 8), at::kFloat, ConfigOf(scheme)).status().message()),
              HasSubstr("F8_E4M3"));
  tensors[module + ".weight"] = at::zeros({4, 8}).to(at::kFloat8_e4m3fn);
  EXPECT_TRUE(Load(UpProjection(4, 8), at::kFloat, ConfigOf(scheme)).ok());
  tensors[module + ".weight_scale"] = at::ones({1});
  EXPECT_EQ(ErrorReason(Load(UpProjection(4, 8), at::kFloat, ConfigOf(scheme)).status()), reason::kSourceModelCorrupt);
  tensors[module + ".weight_scale"] = at::ones({4, 1});
  tensors[module + ".weight"].view(at::kByte)[1][2] = 0x7f;  // the NaN of E4M3
  EXPECT_EQ(ErrorReason(Load(UpProjection(4, 8), at::kFloat, ConfigOf(scheme)).status()), reason::kNonFiniteWeights);
}

TEST_F(CheckpointWeightsTest, ReadsWhatIsNotQuantizedPlainly) {
  tensors["model.norm.weight"] = at::rand({8});
  tensors["lm_head.weight"] = at::rand({3, 8});
  const std::string config = PackedConfig(4, 8, true);
  EXPECT_TRUE(Load({Role::kFinalNorm, "model.norm.weight", {8}}, at::kFloat, config).ok());
  EXPECT_TRUE(Load({Role::kHead, "lm_head.weight", {3, 8}}, at::kFloat, config).ok());
}

TEST_F(CheckpointWeightsTest, RefusesAPackedLinearThatDoesNotFit) {
  const PackedLinear linear = MakePacked(32, 128, 4, 64, false);
  const std::string config = PackedConfig(4, 64, false);
  const std::string module = kModule;
  for (const std::string part : {".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point"}) {
    tensors = linear.tensors;
    tensors.erase(module + part);
    const auto missing = Load(UpProjection(32, 128), at::kBFloat16, config);
    EXPECT_EQ(ErrorReason(missing.status()), reason::kSourceModelCorrupt);
    EXPECT_THAT(std::string(missing.status().message()), HasSubstr(module + part));
    tensors = linear.tensors;
    tensors[module + part] = tensors[module + part].repeat_interleave(2, 0);
    EXPECT_EQ(ErrorReason(Load(UpProjection(32, 128), at::kBFloat16, config).status()), reason::kSourceModelCorrupt);
  }
  tensors = linear.tensors;
  tensors[module + ".weight_shape"] = at::tensor({128, 32}, at::kLong);
  EXPECT_THAT(std::string(Load(UpProjection(32, 128), at::kBFloat16, config).status().message()),
              HasSubstr("[128, 32]"));
  tensors = linear.tensors;
  tensors[module + ".weight_scale"][3][1] = std::numeric_limits<double>::infinity();
  EXPECT_EQ(ErrorReason(Load(UpProjection(32, 128), at::kBFloat16, config).status()), reason::kNonFiniteWeights);
}

}  // namespace
}  // namespace calipress::model
