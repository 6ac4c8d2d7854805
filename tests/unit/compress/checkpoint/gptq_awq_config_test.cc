#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kSource[] = R"({"model_type":"llama","torch_dtype":"bfloat16","quantization_config":{"old":1}})";
const QuantizationScheme kScheme{4, 128, true};

std::vector<QuantizedModule> Modules(const QuantizationScheme& scheme = kScheme) {
  std::vector<QuantizedModule> modules;
  for (const char* block : {"model.layers.0", "model.layers.1"}) {
    for (const char* name : {".self_attn.q_proj", ".mlp.up_proj"})
      modules.push_back({std::string(block) + name, scheme});
  }
  return modules;
}

nlohmann::json Entry(const absl::StatusOr<std::string>& config) {
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? nlohmann::json::parse(*config)["quantization_config"] : nlohmann::json();
}

QuantizationConfig Read(const std::string& entry) {
  auto parsed = ParseQuantizationConfig(R"({"quantization_config":)" + entry + "}");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? *parsed : QuantizationConfig();
}

std::string Refused(const std::string& entry) {
  const auto parsed = ParseQuantizationConfig(R"({"quantization_config":)" + entry + "}");
  EXPECT_EQ(ErrorReason(parsed.status()), "UNSUPPORTED_MODEL") << entry << parsed.status();
  return std::string(parsed.status().message());
}

TEST(GptqConfig, SaysWhatTheLayoutIs) {
  const auto config = Gptq().Config(kSource, Modules(), {"lm_head"});
  const auto entry = Entry(config);
  EXPECT_EQ(nlohmann::json::parse(*config)["torch_dtype"], "float16");
  EXPECT_EQ(entry["quant_method"], "gptq");
  EXPECT_EQ(entry["checkpoint_format"], "gptq");
  EXPECT_EQ(entry["bits"], 4);
  EXPECT_EQ(entry["group_size"], 128);
  EXPECT_EQ(entry["desc_act"], false);
  EXPECT_EQ(entry["sym"], true);
  EXPECT_EQ(entry["lm_head"], false);
  EXPECT_FALSE(entry.contains("modules_in_block_to_quantize"));
  EXPECT_EQ(nlohmann::json::parse(*RepeatedConfig(*config)), entry);
  const auto parsed = ParseQuantizationConfig(*config);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->format, &Gptq());
  EXPECT_EQ(*parsed->SchemeOf("model.layers.1.mlp.up_proj"), kScheme);
  EXPECT_EQ(parsed->SchemeOf("lm_head"), nullptr);
}

TEST(GptqConfig, NamesLinearsWhereSomeOfABlockAreDense) {
  const auto config = Gptq().Config(kSource, Modules({8, -1, true}),
                                    {"lm_head", "model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"});
  EXPECT_EQ(Entry(config)["modules_in_block_to_quantize"],
            nlohmann::json::parse(R"([["mlp.up_proj"],["self_attn.q_proj"]])"));
  EXPECT_EQ(Entry(config)["group_size"], -1);
  const auto parsed = ParseQuantizationConfig(*config);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->SchemeOf("model.layers.1.mlp.down_proj"), nullptr);
  EXPECT_EQ(parsed->SchemeOf("model.layers.1.mlp.up_proj")->bits, 8);
}

TEST(GptqConfig, CannotNameLinearsOfOneBlock) {
  std::vector<QuantizedModule> modules = Modules();
  modules.pop_back();
  const std::string why = Gptq().ModelMisfit(modules, {"lm_head", "model.layers.1.mlp.up_proj"});
  EXPECT_THAT(why, HasSubstr("model.layers.0.mlp.up_proj is quantized while model.layers.1.mlp.up_proj is not"));
  EXPECT_THAT(Gptq().ModelMisfit({modules[0], modules[1]}, {"lm_head", "model.layers.1.mlp.up_proj"}),
              HasSubstr("once for all blocks"));
  EXPECT_THAT(Awq().ModelMisfit(modules, {"lm_head", "model.layers.1.mlp.up_proj"}), IsEmpty());
  modules[0].scheme.bits = 8;
  EXPECT_THAT(Awq().ModelMisfit(modules, {}), HasSubstr("one scheme"));
  EXPECT_THAT(Gptq().ModelMisfit(modules, {}), HasSubstr("one scheme"));
}

TEST(AwqConfig, SaysWhatTheLayoutIs) {
  const auto config = Awq().Config(R"({"dtype":"bfloat16"})", Modules(), {"lm_head", "model.layers.1.mlp.down_proj"});
  const auto entry = Entry(config);
  EXPECT_EQ(nlohmann::json::parse(*config)["dtype"], "float16");
  EXPECT_FALSE(nlohmann::json::parse(*config).contains("torch_dtype"));
  EXPECT_EQ(entry, nlohmann::json::parse(R"({"quant_method":"awq","bits":4,"group_size":128,"zero_point":true,
      "version":"gemm","modules_to_not_convert":["lm_head","model.layers.1.mlp.down_proj"]})"));
  const auto parsed = ParseQuantizationConfig(*config);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->format, &Awq());
  EXPECT_EQ(parsed->SchemeOf("model.layers.1.mlp.down_proj"), nullptr);
  // The file has zero points always, whatever their values.
  EXPECT_EQ(*parsed->SchemeOf("model.layers.11.mlp.down_proj"), (QuantizationScheme{4, 128, false}));
}

TEST(ReadGptq, TakesWhatOthersWrite) {
  EXPECT_EQ(Read(R"({"quant_method":"gptq","bits":4,"group_size":32})").format, &Gptq());
  const auto second = Read(R"({"quant_method":"gptq","bits":8,"group_size":-1,"sym":false,"desc_act":true,
      "checkpoint_format":"gptq_v2","dynamic":{"-:.*down_proj":{}},"meta":{"x":1},"damp_percent":0.1})");
  EXPECT_EQ(second.format, &GptqV2());
  EXPECT_EQ(second.SchemeOf("model.layers.0.mlp.down_proj"), nullptr);
  EXPECT_FALSE(second.SchemeOf("model.layers.0.mlp.up_proj")->symmetric);
  const auto flat =
      Read(R"({"quant_method":"gptq","bits":4,"group_size":32,"modules_in_block_to_quantize":["mlp.up_proj"]})");
  EXPECT_NE(flat.SchemeOf("model.layers.0.mlp.up_proj"), nullptr);
  EXPECT_EQ(flat.SchemeOf("model.layers.0.mlp.gate_proj"), nullptr);
}

TEST(ReadGptq, RefusesWhatItDoesNotUnderstand) {
  const auto with = [](const std::string& more) {
    return Refused(R"({"quant_method":"gptq","bits":4,"group_size":128)" + more + "}");
  };
  EXPECT_THAT(with(R"(,"desc_act":true)"), HasSubstr("desc_act"));
  EXPECT_THAT(with(R"(,"checkpoint_format":"marlin")"), HasSubstr("marlin"));
  EXPECT_THAT(with(R"(,"lm_head":true)"), HasSubstr("lm_head"));
  EXPECT_THAT(with(R"(,"pack_dtype":"int16")"), HasSubstr("pack_dtype"));
  EXPECT_THAT(with(R"(,"dynamic":{"+:.*up":{"bits":8}})"), HasSubstr("dynamic"));
  EXPECT_THAT(with(R"(,"dynamic":{"-:(?<=a)b":{}})"), HasSubstr("invalid expression"));
  EXPECT_THAT(with(R"(,"modules_in_block_to_quantize":[[1]])"), HasSubstr("modules_in_block_to_quantize"));
  EXPECT_THAT(with(R"(,"modules_in_block_to_quantize":[[["a"]]])"), HasSubstr("modules_in_block_to_quantize"));
  EXPECT_THAT(Refused(R"({"quant_method":"gptq","bits":3,"group_size":128})"), HasSubstr("bits is 3"));
  EXPECT_THAT(Refused(R"({"quant_method":"gptq","bits":4,"group_size":0})"), HasSubstr("group_size"));
  EXPECT_THAT(Refused(R"({"quant_method":"gptq","bits":4,"group_size":18446744073709551615})"),
              HasSubstr("group_size"));
}

TEST(ReadAwq, RefusesWhatItDoesNotUnderstand) {
  const auto with = [](const std::string& more) {
    return Refused(R"({"quant_method":"awq","group_size":128,"bits":4)" + more + "}");
  };
  EXPECT_THAT(with(R"(,"version":"gemv")"), HasSubstr("gemv"));
  EXPECT_THAT(with(R"(,"zero_point":false)"), HasSubstr("zero_point"));
  EXPECT_THAT(with(R"(,"backend":"llm-awq")"), HasSubstr("llm-awq"));
  EXPECT_THAT(Refused(R"({"quant_method":"awq","group_size":128,"bits":8})"), HasSubstr("bits is 8"));
}

TEST(Misfits, NameTheOption) {
  const auto options = [](const LinearFormat& format, const QuantizationScheme& scheme) {
    std::string text;
    for (const Misfit& misfit : format.SchemeMisfits(scheme)) text += misfit.option + " ";
    return text;
  };
  EXPECT_EQ(options(Gptq(), {4, 128, true}), "");
  EXPECT_EQ(options(Gptq(), {8, -1, true}), "");
  EXPECT_EQ(options(Gptq(), {3, 128, false}), "bits symmetric ");
  EXPECT_EQ(options(Gptq(), {2, 128, true}), "bits ");
  EXPECT_EQ(options(Gptq(), {.bits = 8, .type = NumberType::kFloat}), "type ");
  EXPECT_EQ(options(Gptq(), {.bits = 8, .activations = Activations::kDynamic}), "activations ");
  EXPECT_EQ(options(Gptq(), {.bits = 8, .strategy = Strategy::kTensor}), "strategy ");
  EXPECT_EQ(options(Awq(), {4, 32, true}), "");
  EXPECT_EQ(options(Awq(), {4, 32, false}), "");
  EXPECT_EQ(options(Awq(), {4, -1, false}), "group_size ");
  EXPECT_EQ(options(Awq(), {8, 32, false}), "bits ");
  EXPECT_EQ(options(CompressedTensors(), {3, -1, false}), "");
  EXPECT_THAT(Gptq().ShapeMisfit({4, 4, true}, 12, 32), HasSubstr("12 outputs"));
  EXPECT_EQ(Gptq().ShapeMisfit({8, 4, true}, 12, 32), "");
  EXPECT_THAT(Awq().ShapeMisfit({4, 4, true}, 12, 32), HasSubstr("12 outputs"));
  EXPECT_EQ(Awq().ShapeMisfit({4, 4, true}, 16, 12), "");
}

}  // namespace
}  // namespace calipress::checkpoint
