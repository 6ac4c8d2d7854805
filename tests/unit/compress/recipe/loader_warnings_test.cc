#include "compress/recipe/loader_warnings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

arch::ArchSpec Model(int64_t hidden, int64_t intermediate, int64_t heads, int64_t kv_heads) {
  const auto spec = arch::ParseConfig(absl::StrCat(
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 512, "hidden_size": )", hidden,
      R"(, "intermediate_size": )", intermediate, R"(, "num_hidden_layers": 2, "num_attention_heads": )", heads,
      R"(, "num_key_value_heads": )", kv_heads,
      R"(, "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "torch_dtype": "bfloat16"})"));
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : arch::ArchSpec();
}

// Llama-3-8B's and Llama-2-7B's shapes, with fewer blocks.
arch::ArchSpec Llama3() { return Model(4096, 14336, 32, 8); }
arch::ArchSpec Llama2() { return Model(4096, 11008, 32, 32); }

std::vector<std::string> Of(const char* yaml, const arch::ArchSpec& spec) {
  const auto recipe = ParseYaml(yaml);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? LoaderWarnings(Resolve(*recipe, spec), spec) : std::vector<std::string>();
}

TEST(LoaderWarnings, GroupsAgainstTensorParallelism) {
  EXPECT_THAT(Of("steps: [{gptq: {group_size: 128}}]", Llama3()), IsEmpty());
  // 11008 = 86 * 128 = 2 * 43 * 128.
  EXPECT_THAT(Of("steps: [{gptq: {group_size: 128}}]", Llama2()),
              ElementsAre(AllOf(StartsWith("group size 128 does not fit tensor parallelism over 4, 8 devices: "),
                                HasSubstr("model.layers.0.mlp.down_proj has 11008 inputs"))));
  EXPECT_THAT(Of("steps: [{gptq: {group_size: 32}}]", Llama2()), IsEmpty());
  EXPECT_THAT(Of("steps: [{gptq: {group_size: -1}}]", Llama2()), IsEmpty());
  EXPECT_THAT(Of("steps: [{gptq: {group_size: 128}}]\noutput: {format: dense}", Llama2()), IsEmpty());
  // Where down_proj stays dense, o_proj alone counts; q and gate are split by outputs.
  EXPECT_THAT(Of("steps: [{gptq: {}, ignore: ['re:.*down_proj']}]", Llama2()), IsEmpty());
}

TEST(LoaderWarnings, BlocksAgainstTensorParallelism) {
  const char* const blocks = "steps: [{rtn: {type: float, strategy: block, activations: dynamic}}]";
  EXPECT_THAT(Of(blocks, Llama3()), IsEmpty());
  EXPECT_THAT(Of(blocks, Llama2()),
              ElementsAre(StartsWith("group size 128 does not fit tensor parallelism over 4, 8 devices"),
                          AllOf(StartsWith("blocks of 128 x 128 do not fit tensor parallelism over 4, 8 devices"),
                                HasSubstr("has 11008 outputs"))));
}

TEST(LoaderWarnings, BlocksThatEndWithinALinear) {
  const char* const blocks = "steps: [{rtn: {type: float, strategy: block, activations: dynamic}}]";
  // k and v have 192 outputs.
  EXPECT_THAT(
      Of(blocks, Model(768, 1024, 8, 2)),
      AllOf(Contains(AllOf(HasSubstr("compressed-tensors 0.18.0 and earlier"),
                           HasSubstr("guess the blocks of model.layers.0.self_attn.k_proj"))),
            Contains(HasSubstr("that cut the 192 outputs of model.layers.0.self_attn.k_proj, which it merges"))));
  // 64: one block of rows, which is no guess; of one block of columns it is.
  EXPECT_THAT(Of(blocks, Model(512, 1024, 16, 2)), Not(Contains(HasSubstr("0.18.0 and earlier"))));
  EXPECT_THAT(Of(blocks, Model(128, 256, 2, 2)),
              Contains(HasSubstr("guess the blocks of model.layers.0.mlp.gate_proj")));
  EXPECT_THAT(Of(blocks, Model(256, 768, 8, 4)), Not(Contains(AnyOf(HasSubstr("guess"), HasSubstr("merges")))));
}

TEST(LoaderWarnings, QuantizedActivations) {
  EXPECT_THAT(Of("steps: [{rtn: {bits: 8, activations: dynamic}}]", Llama2()), IsEmpty());
  EXPECT_THAT(Of("steps: [{rtn: {bits: 8, symmetric: false, activations: dynamic}}]", Llama2()),
              ElementsAre(HasSubstr("vLLM takes quantized activations with symmetric weights alone")));
  EXPECT_THAT(Of("steps: [{rtn: {bits: 4, activations: dynamic}}]", Llama2()),
              ElementsAre(HasSubstr("stored in 8 bits each")));
  EXPECT_THAT(Of("steps: [{rtn: {bits: 8, activations: dynamic}}]\noutput: {format: dense}", Llama2()),
              ElementsAre(HasSubstr("output.format dense holds weights alone")));
}

TEST(LoaderWarnings, EachGroupSizeOnce) {
  EXPECT_THAT(Of("steps: [{gptq: {group_size: 128}}, {rtn: {group_size: 256}, targets: ['re:.*down_proj']}]", Llama2()),
              ElementsAre(StartsWith("group size 256 does not fit tensor parallelism over 2, 4, 8 devices")));
}

TEST(LoaderWarnings, HeadsAgainstTensorParallelism) {
  // Qwen2-0.5B's: 14 heads, 2 key-value heads.
  EXPECT_THAT(Of("steps: [{rtn: {group_size: 32}}]", Model(896, 4864, 14, 2)),
              ElementsAre(StartsWith("group size 32 does not fit tensor parallelism over 8 devices"),
                          HasSubstr("14 heads and 2 key-value heads do not fit tensor parallelism over 4, 8")));
  // Fewer key-value heads than devices are repeated.
  EXPECT_THAT(Of("steps: [{rtn: {group_size: 32}}]", Model(1024, 4096, 16, 2)), IsEmpty());
}

TEST(LoaderWarnings, ThreeBitsNameTheVersionsThatReadThem) {
  EXPECT_THAT(Of("steps: [{rtn: {bits: 3}}]", Llama3()), ElementsAre(HasSubstr("compressed-tensors 0.18.0 and later")));
  for (const char* bits : {"2", "4", "8"}) {
    EXPECT_THAT(Of(absl::StrCat("steps: [{rtn: {bits: ", bits, "}}]").c_str(), Llama3()), IsEmpty());
  }
  EXPECT_THAT(Of("steps: [{rtn: {bits: 3}}]\noutput: {format: dense}", Llama3()), IsEmpty());
}

TEST(LoaderWarnings, SpqrAndPrunedModels) {
  EXPECT_THAT(Of("steps: [{spqr: {}}]", Llama3()), ElementsAre(HasSubstr("no inference engine loads the spqr layout")));
  EXPECT_THAT(Of("steps: [{spqr: {}}]\noutput: {format: dense}", Llama3()), IsEmpty());
  EXPECT_THAT(Of("steps: [{dsnot: {}}]", Llama3()), ElementsAre(HasSubstr("stored as zeros of dense tensors")));
  EXPECT_THAT(Of("steps: [{dsnot: {}}, {rtn: {}}]", Llama3()), IsEmpty());
}

}  // namespace
}  // namespace calipress::recipe
