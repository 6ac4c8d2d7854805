#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "compress/arch/arch.h"
#include "nlohmann/json.hpp"

namespace calipress::arch {
namespace {

using nlohmann::json;

constexpr char kFolder[] = CALIPRESS_SOURCE_DIR "/tests/unit/compress/arch/";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

const json& Expected() {
  static const json expected = json::parse(ReadFile(std::string(kFolder) + "expected.json"));
  return expected;
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& [name, value] : Expected().items()) names.push_back(name);
  return names;
}

// What make_configs.py saw transformers 5.17 make of configs/<name>.json.
class ConfigTest : public ::testing::TestWithParam<std::string> {
 protected:
  const json& expected() const { return Expected().at(GetParam()); }
  ArchSpec Spec() const {
    auto spec = ParseConfig(ReadFile(std::string(kFolder) + "configs/" + GetParam() + ".json"));
    EXPECT_TRUE(spec.ok()) << spec.status();
    return spec.ok() ? *spec : ArchSpec{};
  }
};

TEST_P(ConfigTest, ScalarsEqualTransformers) {
  const ArchSpec spec = Spec();
  const json& want = expected();
  EXPECT_EQ(spec.model_type, want.at("model_type"));
  EXPECT_EQ(spec.family, want.at("model_type"));
  EXPECT_EQ(spec.hidden, want.at("hidden"));
  EXPECT_EQ(spec.intermediate, want.at("intermediate"));
  EXPECT_EQ(spec.blocks, want.at("blocks"));
  EXPECT_EQ(spec.heads, want.at("heads"));
  EXPECT_EQ(spec.kv_heads, want.at("kv_heads"));
  EXPECT_EQ(spec.head_dim, want.at("head_dim"));
  EXPECT_EQ(spec.vocabulary, want.at("vocabulary"));
  EXPECT_EQ(spec.max_positions, want.at("max_positions"));
  EXPECT_EQ(spec.norm_eps, want.at("norm_eps"));
  EXPECT_EQ(spec.tied_embeddings, want.at("tied"));
  EXPECT_EQ(spec.sliding_window, want.at("sliding_window").get<std::vector<int64_t>>());
  const std::map<std::string, Activation> activations = {
      {"silu", Activation::kSilu}, {"gelu", Activation::kGelu}, {"gelu_tanh", Activation::kGeluTanh}};
  EXPECT_EQ(spec.activation, activations.at(want.at("activation")));
  const std::map<std::string, Dtype> dtypes = {
      {"bfloat16", Dtype::kBF16}, {"float16", Dtype::kF16}, {"float32", Dtype::kF32}};
  EXPECT_EQ(spec.dtype, dtypes.at(want.at("dtype")));
}

TEST_P(ConfigTest, RopeEqualsTransformers) {
  const ArchSpec spec = Spec();
  const json& want = expected().at("rope");
  const RopeScaling& rope = spec.rope_scaling;
  EXPECT_EQ(spec.rope_theta, want.at("rope_theta").get<double>());
  const std::map<std::string, RopeScaling::Kind> kinds = {{"default", RopeScaling::Kind::kNone},
                                                          {"linear", RopeScaling::Kind::kLinear},
                                                          {"dynamic", RopeScaling::Kind::kDynamic},
                                                          {"llama3", RopeScaling::Kind::kLlama3},
                                                          {"yarn", RopeScaling::Kind::kYarn}};
  EXPECT_EQ(rope.kind, kinds.at(want.at("rope_type")));
  if (want.contains("original_max_position_embeddings")) {
    EXPECT_EQ(rope.original_max_positions, want.at("original_max_position_embeddings"));
  }
  if (want.contains("factor")) {
    const double ratio = static_cast<double>(spec.max_positions) / static_cast<double>(rope.original_max_positions);
    EXPECT_EQ(rope.factor, want.at("factor").is_null() ? ratio : want.at("factor").get<double>());
  }
  if (rope.kind == RopeScaling::Kind::kLlama3) {
    EXPECT_EQ(rope.low_frequency_factor, want.at("low_freq_factor").get<double>());
    EXPECT_EQ(rope.high_frequency_factor, want.at("high_freq_factor").get<double>());
  }
  if (rope.kind == RopeScaling::Kind::kYarn) {
    const auto optional = [&](const char* field) {
      return want.contains(field) ? std::optional<double>(want.at(field).get<double>()) : std::nullopt;
    };
    EXPECT_EQ(rope.attention_factor, optional("attention_factor"));
    EXPECT_EQ(rope.mscale, optional("mscale"));
    EXPECT_EQ(rope.mscale_all_dim, optional("mscale_all_dim"));
    // Zero and absent both mean 32 and 1.
    EXPECT_EQ(rope.beta_fast, optional("beta_fast").value_or(0) == 0 ? 32 : *optional("beta_fast"));
    EXPECT_EQ(rope.beta_slow, optional("beta_slow").value_or(0) == 0 ? 1 : *optional("beta_slow"));
    EXPECT_EQ(rope.truncate, want.value("truncate", true));
  }
}

TEST_P(ConfigTest, TensorsEqualTheModelsStateDict) {
  const ArchSpec spec = Spec();
  std::vector<TensorSpec> tensors = OuterTensors(spec);
  std::vector<int64_t> blocks = {0};
  if (spec.blocks > 1) blocks.push_back(spec.blocks - 1);
  for (const int64_t block : blocks) {
    const auto more = BlockTensors(spec, block);
    tensors.insert(tensors.end(), more.begin(), more.end());
  }
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const TensorSpec& tensor : tensors) {
    EXPECT_TRUE(shapes.emplace(tensor.name, tensor.shape).second) << tensor.name << " twice";
  }
  EXPECT_EQ(shapes, (expected().at("tensors").get<std::map<std::string, std::vector<int64_t>>>()));
}

TEST_P(ConfigTest, LinearsAreTheBlocksMatrices) {
  const ArchSpec spec = Spec();
  const auto& tensors = expected().at("tensors");
  int last_input = 0;
  const std::vector<LinearSpec> linears = BlockLinears(spec, 0);
  EXPECT_EQ(linears.size(), 7);
  for (const LinearSpec& linear : linears) {
    EXPECT_EQ(tensors.at(linear.module + ".weight"), json({linear.out, linear.in}));
    EXPECT_EQ(tensors.contains(linear.module + ".bias"), linear.bias) << linear.module;
    EXPECT_EQ(linear.module.substr(linear.module.rfind('.') + 1), RoleName(linear.role));
    EXPECT_EQ(linear.module.rfind(BlockPrefix(spec, 0), 0), 0);
    EXPECT_TRUE(linear.input == last_input || linear.input == last_input + 1);
    last_input = linear.input;
  }
  EXPECT_EQ(last_input, 3);
}

INSTANTIATE_TEST_SUITE_P(Transformers, ConfigTest, ::testing::ValuesIn(Names()),
                         [](const auto& info) { return info.param; });

TEST(FamiliesTest, KnownModelTypesAreSorted) {
  EXPECT_THAT(KnownModelTypes(), ::testing::ElementsAre("llama", "mistral", "qwen2", "qwen3"));
}

TEST(FamiliesTest, HeadAndBlockNames) {
  const ArchSpec spec = ParseConfig(R"({"model_type": "qwen3"})").value();
  EXPECT_EQ(HeadModule(spec), "lm_head");
  EXPECT_EQ(BlockPrefix(spec, 12), "model.layers.12.");
}

}  // namespace
}  // namespace calipress::arch
