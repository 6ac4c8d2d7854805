#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

v1::Recipe Parsed(const std::string& yaml) {
  const auto recipe = ParseYaml(yaml);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? *recipe : v1::Recipe();
}

std::vector<std::string> Texts(const std::vector<FieldViolation>& violations) {
  std::vector<std::string> texts;
  for (const FieldViolation& v : violations) texts.push_back(v.field + ": " + v.description);
  return texts;
}

std::vector<std::string> Found(const std::string& steps, const std::string& format) {
  return Texts(
      Validate(Parsed(absl::StrCat("steps: [{", steps, "}]\noutput: {format: ", format, "}")), true, "recipe"));
}

arch::ArchSpec Model(int64_t intermediate) {
  return arch::ParseConfig(absl::StrCat(
                               R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 512,
          "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4,
          "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "tie_word_embeddings": true,
          "torch_dtype": "bfloat16", "intermediate_size": )",
                               intermediate, "}"))
      .value();
}

std::vector<std::string> FoundForModel(const std::string& steps, const std::string& format, int64_t intermediate) {
  const arch::ArchSpec spec = Model(intermediate);
  const v1::Recipe recipe = Parsed(absl::StrCat("steps: [{", steps, "}]\noutput: {format: ", format, "}"));
  return Texts(ValidateForModel(Resolve(recipe, spec), spec, "recipe"));
}

TEST(OutputFormat, OfUnknownNameIsRefused) {
  EXPECT_THAT(Found("rtn: {}", "gguf"),
              ElementsAre("recipe.output.format: must be compressed-tensors, gptq, awq, spqr or dense"));
}

TEST(OutputFormat, GptqHoldsSymmetricFourAndEightBits) {
  EXPECT_THAT(Found("rtn: {}", "gptq"), IsEmpty());
  EXPECT_THAT(Found("rtn: {bits: 8, group_size: -1}", "gptq"), IsEmpty());
  EXPECT_THAT(Found("rtn: {bits: 3}", "gptq"), ElementsAre(StartsWith("recipe.steps[0].rtn.bits: gptq holds 4 and 8")));
  EXPECT_THAT(Found("rtn: {bits: 2}, targets: ['re:.*q_proj']}, {rtn: {symmetric: false}", "gptq"),
              ElementsAre(StartsWith("recipe.steps[0].rtn.bits: "), StartsWith("recipe.steps[1].rtn.symmetric: ")));
}

TEST(OutputFormat, AwqHoldsFourBitsInGroups) {
  EXPECT_THAT(Found("rtn: {symmetric: false, group_size: 32}", "awq"), IsEmpty());
  EXPECT_THAT(Found("rtn: {}", "awq"), IsEmpty());
  EXPECT_THAT(Found("rtn: {bits: 8}", "awq"), ElementsAre(StartsWith("recipe.steps[0].rtn.bits: awq holds 4")));
  EXPECT_THAT(Found("rtn: {group_size: -1}", "awq"),
              ElementsAre(StartsWith("recipe.steps[0].rtn.group_size: awq holds groups")));
}

TEST(OutputFormat, NeedsAStepThatQuantizesAsTheFormatDoes) {
  for (const char* format : {"gptq", "awq"}) {
    EXPECT_THAT(Found("magnitude: {}", format),
                ElementsAre(AllOf(StartsWith("recipe.output.format: "), HasSubstr("no step quantizes"))));
  }
  EXPECT_THAT(Found("rtn: {}", "spqr"), ElementsAre(StartsWith("recipe.output.format: spqr holds")));
}

TEST(OutputFormat, HasOneScheme) {
  EXPECT_THAT(FoundForModel(
                  "rtn: {group_size: 64}, targets: ['re:.*self_attn']}, {rtn: {group_size: 32}, targets: ['re:.*mlp']",
                  "gptq", 192),
              ElementsAre(AllOf(StartsWith("recipe.steps: gptq has one scheme"), HasSubstr("mlp.gate_proj"))));
  EXPECT_THAT(FoundForModel(
                  "rtn: {group_size: 64}, targets: ['re:.*self_attn']}, {rtn: {group_size: 32}, targets: ['re:.*mlp']",
                  "compressed-tensors", 192),
              IsEmpty());
}

TEST(OutputFormat, GptqNamesLinearsOnceForAllBlocks) {
  const std::string some = "rtn: {group_size: 64}, ignore: ['re:model.layers.0.mlp.down_proj', lm_head]";
  EXPECT_THAT(FoundForModel(some, "gptq", 192),
              ElementsAre(AllOf(StartsWith("recipe.steps: "), HasSubstr("model.layers.0.mlp.down_proj is not"))));
  EXPECT_THAT(FoundForModel(some, "awq", 192), IsEmpty());
  EXPECT_THAT(FoundForModel("rtn: {group_size: 64}, ignore: ['re:.*down_proj', lm_head]", "gptq", 192), IsEmpty());
}

TEST(OutputFormat, WordsAreFull) {
  EXPECT_THAT(FoundForModel("rtn: {group_size: 4}", "gptq", 172),
              ElementsAre(AllOf(StartsWith("recipe.output.format: model.layers.0.mlp.gate_proj: gptq packs 8"),
                                HasSubstr("172 outputs"), HasSubstr("(and 5 more)"))));
  EXPECT_THAT(FoundForModel("rtn: {group_size: 4, bits: 8}", "gptq", 172), IsEmpty());
  EXPECT_THAT(FoundForModel("rtn: {group_size: 4}", "awq", 172), ElementsAre(HasSubstr("awq packs 8 outputs")));
  EXPECT_THAT(FoundForModel("rtn: {group_size: 4}", "compressed-tensors", 172), IsEmpty());
}

TEST(OutputFormat, SaysTheDtypeOfTheResult) {
  v1::Recipe recipe;
  EXPECT_EQ(StoredDtype(recipe, Dtype::kBF16), Dtype::kBF16);
  for (const char* format : {"gptq", "awq"}) {
    recipe.mutable_output()->set_format(format);
    EXPECT_EQ(StoredDtype(recipe, Dtype::kBF16), Dtype::kF16);
    EXPECT_EQ(StoredDtype(recipe, Dtype::kF32), Dtype::kF16);
    EXPECT_EQ(StoredDtype(recipe, Dtype::kI64), Dtype::kI64);
  }
  recipe.mutable_output()->set_format("dense");
  EXPECT_EQ(StoredDtype(recipe, Dtype::kF32), Dtype::kF32);
}

TEST(OutputFormat, TensorsAreTheFormats) {
  v1::Recipe recipe = Parsed("steps: [{rtn: {group_size: 32}}]");
  const arch::LinearSpec linear{arch::Role::kQuery, "m.q", 64, 64};
  const auto names = [&](const char* format) {
    recipe.mutable_output()->set_format(format);
    std::vector<std::string> found;
    for (const auto& plan : LinearTensors(recipe, linear, Dtype::kBF16)) found.push_back(plan.name);
    return found;
  };
  EXPECT_THAT(names("gptq"), ElementsAre("m.q.qweight", "m.q.qzeros", "m.q.scales", "m.q.g_idx"));
  EXPECT_THAT(names("awq"), ElementsAre("m.q.qweight", "m.q.qzeros", "m.q.scales"));
  EXPECT_THAT(names(""), ElementsAre("m.q.weight_packed", "m.q.weight_scale", "m.q.weight_shape"));
  EXPECT_THAT(names("dense"), ElementsAre("m.q.weight"));
}

}  // namespace
}  // namespace calipress::recipe
