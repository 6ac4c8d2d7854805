#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/arch/arch.h"
#include "compress/base/error.h"
#include "nlohmann/json.hpp"

namespace calipress::arch {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A good config with one part replaced.
json Base(const std::string& model_type) {
  return {{"model_type", model_type}, {"vocab_size", 96},       {"hidden_size", 64},
          {"intermediate_size", 80},  {"num_hidden_layers", 3}, {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"head_dim", 16},         {"max_position_embeddings", 128},
          {"rms_norm_eps", 1e-6},     {"rope_theta", 10000.0}};
}

struct Case {
  std::string model_type;
  std::string field;  // named in the message
  json change;
  std::string_view reason = reason::kSourceModelCorrupt;
};

class HostileTest : public ::testing::TestWithParam<Case> {};

TEST_P(HostileTest, IsOneErrorThatNamesTheField) {
  json config = Base(GetParam().model_type);
  ASSERT_TRUE(ParseConfig(config.dump()).ok()) << ParseConfig(config.dump()).status();
  config.update(GetParam().change);
  const auto spec = ParseConfig(config.dump());
  ASSERT_FALSE(spec.ok()) << config.dump();
  EXPECT_EQ(ErrorReason(spec.status()), GetParam().reason);
  EXPECT_EQ(ErrorClassOf(spec.status()), ErrorClass::kUser);
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr("config.json: " + GetParam().field + " "));
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const json nothing = json::object();
  for (const char* field : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    for (const json& value : {json(0), json(-1), json(INT64_MIN), json(UINT64_MAX), json(int64_t{1} << 40), json(1.5),
                              json("64"), json(true), json::array({64}), nothing}) {
      cases.push_back({"llama", field, {{field, value}}});
    }
  }
  for (const char* field : {"tie_word_embeddings", "attention_bias", "mlp_bias"}) {
    cases.push_back({"llama", field, {{field, 1}}});
    cases.push_back({"llama", field, {{field, "true"}}});
  }
  cases.push_back({"llama", "rms_norm_eps", {{"rms_norm_eps", -1e-6}}});
  cases.push_back({"llama", "rms_norm_eps", {{"rms_norm_eps", "1e-6"}}});
  cases.push_back({"llama", "rope_theta", {{"rope_theta", 0}}});
  cases.push_back({"llama", "rope_theta", {{"rope_theta", -5.0}}});
  cases.push_back({"llama", "num_key_value_heads", {{"num_key_value_heads", 3}}});
  cases.push_back({"llama", "num_key_value_heads", {{"num_key_value_heads", 8}}});
  cases.push_back({"llama", "hidden_size", {{"hidden_size", 66}}});
  cases.push_back({"qwen2", "hidden_size", {{"hidden_size", 3}, {"head_dim", nullptr}}});
  cases.push_back({"qwen3", "head_dim", {{"head_dim", 15}}});
  cases.push_back({"llama", "hidden_act", {{"hidden_act", 3}}});
  cases.push_back({"llama", "hidden_act", {{"hidden_act", "relu2"}}, reason::kUnsupportedModel});
  cases.push_back({"llama", "torch_dtype", {{"torch_dtype", "float8_e4m3fn"}}, reason::kUnsupportedModel});
  cases.push_back({"llama", "dtype", {{"dtype", {{"a", "b"}}}}});
  cases.push_back({"llama", "rope_scaling", {{"rope_scaling", "linear"}}});
  cases.push_back({"llama", "rope_scaling.factor", {{"rope_scaling", {{"type", "linear"}}}}});
  cases.push_back({"llama", "rope_scaling.factor", {{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}});
  cases.push_back({"llama", "rope_scaling.factor", {{"rope_scaling", {{"type", "dynamic"}, {"factor", "2"}}}}});
  cases.push_back({"llama", "rope_scaling.factor", {{"rope_scaling", {{"type", "yarn"}}}}});
  cases.push_back({"llama", "rope_scaling.rope_type", {{"rope_scaling", {{"rope_type", 7}}}}});
  cases.push_back({"llama", "rope_scaling.type", {{"rope_scaling", {{"type", "mrope"}}}}, reason::kUnsupportedModel});
  cases.push_back({"llama",
                   "rope_parameters.rope_type",
                   {{"rope_parameters", {{"rope_type", "longrope"}}}},
                   reason::kUnsupportedModel});
  cases.push_back({"llama",
                   "rope_parameters.full_attention",
                   {{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}},
                   reason::kUnsupportedModel});
  cases.push_back(
      {"llama",
       "rope_scaling.high_freq_factor",
       {{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}}}});
  cases.push_back(
      {"llama",
       "rope_scaling.original_max_position_embeddings",
       {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 8}, {"original_max_position_embeddings", 0}}}}});
  cases.push_back({"llama", "partial_rotary_factor", {{"partial_rotary_factor", 0.5}}, reason::kUnsupportedModel});
  cases.push_back({"mistral", "sliding_window", {{"sliding_window", 0}}});
  cases.push_back({"mistral", "sliding_window", {{"sliding_window", -4}}});
  cases.push_back({"mistral", "layer_types", {{"layer_types", nullptr}}, reason::kUnsupportedModel});
  cases.push_back({"qwen2", "use_sliding_window", {{"use_sliding_window", "yes"}}});
  cases.push_back({"qwen2", "max_window_layers", {{"max_window_layers", -1}}});
  cases.push_back({"qwen3", "layer_types", {{"layer_types", "full_attention"}}});
  cases.push_back({"qwen3", "layer_types", {{"layer_types", {"full_attention"}}}});
  cases.push_back({"qwen3",
                   "layer_types",
                   {{"layer_types", {"full_attention", "linear_attention", "full_attention"}}},
                   reason::kUnsupportedModel});
  cases.push_back(
      {"qwen3", "layer_types", {{"layer_types", {"full_attention", "sliding_attention", "full_attention"}}}});
  cases.push_back({"qwen3", "layer_types", {{"layer_types", {1, 2, 3}}}, reason::kUnsupportedModel});
  cases.push_back({"llama", "model_type", {{"model_type", "gpt_neox"}}, reason::kUnsupportedModel});
  cases.push_back({"llama", "model_type", {{"model_type", 5}}});
  cases.push_back({"llama", "model_type", {{"model_type", std::string(100000, 'x')}}, reason::kUnsupportedModel});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Fields, HostileTest, ::testing::ValuesIn(Cases()));

TEST(HostileTextTest, WhatIsNoConfigIsRefusedInWords) {
  for (const std::string text : {std::string(), std::string("{"), std::string("[]"), std::string("null"),
                                 std::string("{\"a\": 1e999}"), std::string("\xff\xfe{}"), std::string("{}"),
                                 std::string(200000, '['), std::string("{\"model_type\": null}")}) {
    const auto spec = ParseConfig(text);
    ASSERT_FALSE(spec.ok()) << text.substr(0, 40);
    EXPECT_EQ(ErrorReason(spec.status()), reason::kSourceModelCorrupt);
    EXPECT_LT(spec.status().message().size(), 400);
  }
}

TEST(HostileTextTest, UnknownFamiliesListTheKnown) {
  const auto spec = ParseConfig(R"({"model_type": "gpt2"})");
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr("llama, mistral, qwen2, qwen3"));
}

}  // namespace
}  // namespace calipress::arch
