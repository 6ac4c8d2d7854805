#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {
namespace {

constexpr char kSource[] = R"({"model_type":"llama","zebra":1,"architectures":["L"],"quantization_config":{"old":1}})";

TEST(QuantizedConfig, OneSchemeTargetsLinear) {
  auto text = QuantizedConfig(kSource, {{"m.0.q", {4, 128, true}}, {"m.0.k", {4, 128, true}}}, {"lm_head"});
  ASSERT_TRUE(text.ok()) << text.status();
  const auto config = nlohmann::ordered_json::parse(*text);
  EXPECT_EQ(config.begin().key(), "model_type");
  const auto& quantization = config["quantization_config"];
  EXPECT_EQ(quantization["quantization_status"], "compressed");
  EXPECT_EQ(quantization["ignore"], nlohmann::json::array({"lm_head"}));
  const auto& group = quantization["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], nlohmann::json::array({"Linear"}));
  EXPECT_EQ(group["weights"]["group_size"], 128);
  EXPECT_EQ(group["weights"]["strategy"], "group");
}

TEST(QuantizedConfig, SeveralSchemesTargetTheirModules) {
  auto text = QuantizedConfig(kSource, {{"m.0.q", {4, 128, true}}, {"m.0.d", {8, -1, false}}}, {});
  ASSERT_TRUE(text.ok());
  const auto groups = nlohmann::json::parse(*text)["quantization_config"]["config_groups"];
  EXPECT_EQ(groups["group_0"]["targets"], nlohmann::json::array({"m.0.q"}));
  EXPECT_EQ(groups["group_1"]["targets"], nlohmann::json::array({"m.0.d"}));
  EXPECT_FALSE(groups["group_1"]["weights"].contains("group_size"));
  auto parsed = ParseQuantizationConfig(*text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed->SchemeOf("m.0.d"), (QuantizationScheme{8, -1, false}));
  EXPECT_EQ(*parsed->SchemeOf("m.0.q"), (QuantizationScheme{4, 128, true}));
  EXPECT_EQ(parsed->SchemeOf("m.1.q"), nullptr);
}

TEST(QuantizedConfig, NothingQuantizedIsThePlainConfig) {
  auto text = QuantizedConfig(kSource, {}, {});
  ASSERT_TRUE(text.ok());
  EXPECT_FALSE(nlohmann::json::parse(*text).contains("quantization_config"));
}

TEST(ParseQuantizationConfig, NameBeatsExpressionBeatsClass) {
  auto parsed = ParseQuantizationConfig(R"({"quantization_config":{"quant_method":"compressed-tensors",
    "format":"pack-quantized","quantization_status":"compressed","ignore":["re:.*head"],"config_groups":{
    "a":{"targets":["Linear"],"weights":{"num_bits":4,"strategy":"group","group_size":32}},
    "b":{"targets":["re:.*up"],"weights":{"num_bits":8,"strategy":"channel"}},
    "c":{"targets":["m.1.up"],"weights":{"num_bits":2,"strategy":"channel","symmetric":false}}}}})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->SchemeOf("m.0.q")->bits, 4);
  EXPECT_EQ(parsed->SchemeOf("m.0.up")->bits, 8);
  EXPECT_EQ(parsed->SchemeOf("m.1.up")->bits, 2);
  EXPECT_EQ(parsed->SchemeOf("lm_head"), nullptr);
}

TEST(ParseQuantizationConfig, RefusesOtherFormats) {
  for (const char* config :
       {R"({"quantization_config":{"quant_method":"gptq"}})",
        R"({"quantization_config":{"quant_method":"compressed-tensors","quantization_status":"frozen"}})",
        R"({"quantization_config":[]})",
        R"({"quantization_config":{"quant_method":"compressed-tensors","quantization_status":
                                "compressed","config_groups":{"a":{"format":"int-quantized","targets":["Linear"]}}}})"}) {
    EXPECT_EQ(ErrorReason(ParseQuantizationConfig(config).status()), "UNSUPPORTED_MODEL") << config;
  }
  EXPECT_TRUE(ParseQuantizationConfig("{}")->schemes.empty());
}

// A JSON library that recurses over such a value ends the process.
TEST(ParseQuantizationConfig, HostileNestingIsRefused) {
  const std::string deep = std::string(2'000'000, '[') + std::string(2'000'000, ']');
  const auto status = ParseQuantizationConfig(R"({"quantization_config":{"quant_method":)" + deep + "}}").status();
  EXPECT_EQ(ErrorReason(status), "SOURCE_MODEL_CORRUPT") << status;
  EXPECT_EQ(ErrorReason(QuantizedConfig("{\"a\":" + deep + "}", {{"m.0.q", {4, 128, true}}}, {}).status()),
            "SOURCE_MODEL_CORRUPT");
}

// What would change the meaning of the codes must not pass as if it were not there.
TEST(ParseQuantizationConfig, RefusesWhatItDoesNotUnderstand) {
  const auto with = [](const std::string& weights, const std::string& top) {
    return ParseQuantizationConfig(R"({"quantization_config":{"quant_method":"compressed-tensors",
      "format":"pack-quantized","quantization_status":"compressed",)" +
                                   top + R"("config_groups":{"a":{
      "targets":["Linear"],"weights":{)" +
                                   weights + R"("strategy":"group","group_size":32}}}}})")
        .status();
  };
  EXPECT_TRUE(with(R"("num_bits":4,)", "").ok());
  EXPECT_TRUE(with(R"("num_bits":4,"actorder":"static","dynamic":false,)",
                   R"("kv_cache_scheme":null,"sparsity_config":{"format":"dense"},"transform_config":{},)")
                  .ok());
  for (const char* weights :
       {R"("num_bits":4,"actorder":"group",)", R"("num_bits":4,"actorder":true,)", R"("num_bits":4,"dynamic":true,)",
        R"("num_bits":4294967300,)", R"("num_bits":4.0,)", R"("num_bits":9,)", R"("num_bits":4,"type":"float",)",
        R"("num_bits":4,"symmetric":1,)"}) {
    EXPECT_EQ(ErrorReason(with(weights, "")), "UNSUPPORTED_MODEL") << weights;
  }
  for (const char* top : {R"("kv_cache_scheme":{"num_bits":8},)", R"("sparsity_config":{"format":"sparse-bitmask"},)",
                          R"("transform_config":{"config_groups":{"x":{}}},)"}) {
    EXPECT_EQ(ErrorReason(with(R"("num_bits":4,)", top)), "UNSUPPORTED_MODEL") << top;
  }
}

}  // namespace
}  // namespace calipress::checkpoint
