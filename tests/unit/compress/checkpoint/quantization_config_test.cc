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
  EXPECT_EQ(*parsed->SchemeOf("m.0.d"), (QuantizationScheme{8, -1, false}).Normalized());
  EXPECT_EQ(*parsed->SchemeOf("m.0.q"), (QuantizationScheme{4, 128, true}));
  EXPECT_EQ(parsed->SchemeOf("m.1.q"), nullptr);
}

// Each scheme with its format, read back as it was written.
TEST(QuantizedConfig, EveryFormatComesBack) {
  using enum Strategy;
  using enum Activations;
  const std::pair<QuantizationScheme, const char*> cases[] = {
      {{8, -1, true, NumberType::kInt, kChannel, kDynamic}, "int-quantized"},
      {{8, -1, false, NumberType::kInt, kTensor, kStatic}, "int-quantized"},
      {{4, 32, true, NumberType::kInt, kGroup, kDynamic}, "int-quantized"},
      {{8, -1, true, NumberType::kFloat, kChannel, kDynamic}, "float-quantized"},
      {{8, -1, true, NumberType::kFloat, kTensor, kStatic}, "float-quantized"},
      {{8, -1, true, NumberType::kFloat, kBlock, kDynamic}, "float-quantized"},
      {{8, -1, true, NumberType::kFloat, kBlock, kNone}, "naive-quantized"},
      {{8, -1, true, NumberType::kInt, kChannel, kNone}, "pack-quantized"},
  };
  std::vector<QuantizedModule> all;
  for (const auto& [scheme, format] : cases) {
    auto text = QuantizedConfig(kSource, {{"m.0.q", scheme}}, {"lm_head"});
    ASSERT_TRUE(text.ok()) << text.status();
    const auto quantization = nlohmann::json::parse(*text)["quantization_config"];
    EXPECT_EQ(quantization["format"], format);
    EXPECT_EQ(quantization["config_groups"]["group_0"]["format"], format);
    auto parsed = ParseQuantizationConfig(*text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed->SchemeOf("m.0.q"), scheme) << *text;
    all.push_back({"m." + std::to_string(all.size()), scheme});
  }
  auto text = QuantizedConfig(kSource, all, {});
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(nlohmann::json::parse(*text)["quantization_config"]["format"], "mixed-precision");
  for (const QuantizedModule& module : all) {
    EXPECT_EQ(*ParseQuantizationConfig(*text)->SchemeOf(module.module), module.scheme);
  }
}

TEST(QuantizedConfig, ActivationsAreSpelledAsLoadersWantThem) {
  const auto inputs = [](const QuantizationScheme& scheme) {
    return nlohmann::json::parse(*QuantizedConfig(
        kSource, {{"m", scheme}}, {}))["quantization_config"]["config_groups"]["group_0"]["input_activations"]
        .dump();
  };
  EXPECT_EQ(inputs({8, -1, true, NumberType::kInt, Strategy::kChannel, Activations::kDynamic}),
            R"({"dynamic":true,"num_bits":8,"strategy":"token","symmetric":true,"type":"int"})");
  EXPECT_EQ(inputs({8, -1, true, NumberType::kFloat, Strategy::kBlock, Activations::kDynamic}),
            R"({"dynamic":true,"group_size":128,"num_bits":8,"strategy":"group","symmetric":true,"type":"float"})");
  EXPECT_EQ(inputs({8, -1, true, NumberType::kFloat, Strategy::kTensor, Activations::kStatic}),
            R"({"dynamic":false,"num_bits":8,"strategy":"tensor","symmetric":true,"type":"float"})");
  EXPECT_EQ(inputs({}), "null");
}

TEST(QuantizedLinearPlan, NamesDtypesAndShapes) {
  const auto text = [](const QuantizationScheme& scheme) {
    std::string text;
    for (const TensorPlan& plan : QuantizedLinearPlan("m", 300, 256, scheme, Dtype::kBF16)) {
      text += plan.name + " " + std::string(DtypeName(plan.dtype));
      for (const int64_t size : plan.shape) text += " " + std::to_string(size);
      text += ";";
    }
    return text;
  };
  EXPECT_EQ(text({8, -1, false, NumberType::kInt, Strategy::kChannel, Activations::kStatic}),
            "m.weight I8 300 256;m.weight_scale BF16 300 1;m.weight_zero_point I8 300 1;m.input_scale F32 1;");
  EXPECT_EQ(text({8, -1, true, NumberType::kFloat, Strategy::kTensor, Activations::kDynamic}),
            "m.weight F8_E4M3 300 256;m.weight_scale BF16 1;");
  EXPECT_EQ(text({8, -1, true, NumberType::kFloat, Strategy::kBlock, Activations::kNone}),
            "m.weight F8_E4M3 300 256;m.weight_scale BF16 3 2;");
  EXPECT_EQ(text({4, 32, true}), "m.weight_packed I32 300 32;m.weight_scale BF16 300 8;m.weight_shape I64 2;");
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
