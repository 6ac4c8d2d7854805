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
using ::testing::Not;
using ::testing::StartsWith;

// stories260k's shape: 172 inputs of down_proj are a multiple of 4 alone.
arch::ArchSpec Model(int64_t intermediate = 172) {
  const auto spec = arch::ParseConfig(absl::StrCat(
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 512, "hidden_size": 64,
          "intermediate_size": )",
      intermediate,
      R"(, "num_hidden_layers": 5, "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_act": "silu",
          "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "tie_word_embeddings": true,
          "torch_dtype": "float32"})"));
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : arch::ArchSpec();
}

std::vector<std::string> Found(std::string_view yaml, const arch::ArchSpec& spec = Model()) {
  const auto recipe = ParseYaml(yaml);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  std::vector<std::string> all;
  if (!recipe.ok()) return all;
  for (const FieldViolation& v : ValidateForModel(Resolve(*recipe, spec), spec, "recipe")) {
    all.push_back(v.field + ": " + v.description);
  }
  return all;
}

TEST(Pruning, RunsOfAPatternDivideAndNothingElseHasTo) {
  // 172 inputs are no multiple of 128, which only groups would have to be.
  EXPECT_THAT(Found("steps: [{dsnot: {sparsity: 0.6}}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{dsnot: {pattern: '2:4'}}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{dsnot: {pattern: '5:8'}}]"),
              ElementsAre(AllOf(StartsWith("recipe.steps[0].dsnot.pattern: runs of 8 do not divide the 172 inputs of "),
                                HasSubstr("down_proj (and 4 more)"))));
}

TEST(Pruning, MayComeBeforeAStepThatQuantizes) {
  EXPECT_THAT(Found("steps: [{dsnot: {}}, {rtn: {group_size: 4}}]"), IsEmpty());
  // Of two steps that prune a linear the last one does.
  EXPECT_THAT(Found("steps: [{dsnot: {}}, {dsnot: {sparsity: 0.6}}]"), ElementsAre(HasSubstr("acts on no linear")));
  // Pruned linears are dense, and may be fused with dense ones.
  EXPECT_THAT(Found("steps: [{dsnot: {}, targets: ['re:.*q_proj']}]"), IsEmpty());
}

// 2:4 in groups of 6: the third run lies in two groups.
TEST(Pruning, GroupsHoldWholeRuns) {
  const arch::ArchSpec spec = Model(192);
  const std::string on = ", targets: ['re:.*down_proj']";
  EXPECT_THAT(Found("steps: [{wanda: {pattern: '2:4'}" + on + "}, {gptq: {group_size: 3}" + on + "}]", spec),
              ElementsAre(AllOf(StartsWith("recipe.steps[1].gptq.group_size: groups of 3 columns cut the runs of 4 "),
                                HasSubstr("steps[0] (wanda 2:4) prunes model.layers.0.mlp.down_proj"))));
  EXPECT_THAT(Found("steps: [{magnitude: {pattern: '4:8'}" + on + "}, {rtn: {group_size: 12}" + on + "}]", spec),
              ElementsAre(StartsWith("recipe.steps[1].rtn.group_size: groups of 12 columns cut the runs of 8 ")));
  EXPECT_THAT(Found("steps: [{sparsegpt: {pattern: '2:4', quantize: {group_size: 6}}" + on + "}]", spec),
              ElementsAre(StartsWith("recipe.steps[0].sparsegpt.quantize.group_size: groups of 6 columns")));
  for (const char* fits : {"gptq: {group_size: 12}", "gptq: {group_size: -1}"}) {
    EXPECT_THAT(Found("steps: [{wanda: {pattern: '2:4'}" + on + "}, {" + fits + on + "}]", spec), IsEmpty()) << fits;
  }
  // Not the same linears, or not in runs.
  EXPECT_THAT(
      Found("steps: [{wanda: {pattern: '2:4'}, ignore: ['re:.*down_proj']}, {gptq: {group_size: 3}" + on + "}]", spec),
      IsEmpty());
  EXPECT_THAT(Found("steps: [{wanda: {}" + on + "}, {gptq: {group_size: 3}" + on + "}]", spec), IsEmpty());
}

TEST(Pruning, SpqrCannotKeepZeros) {
  EXPECT_THAT(Found("steps: [{wanda: {}}, {spqr: {group_size: 4, scale_group_size: 4}}]"),
              ElementsAre(AllOf(StartsWith("recipe.steps[1].spqr: cannot keep the zeros of model.layers.0."),
                                HasSubstr("quantize with gptq or rtn"))));
  EXPECT_THAT(Found("steps: [{wanda: {}, targets: ['re:.*_proj'], ignore: ['re:.*down_proj']}, "
                    "{spqr: {group_size: 4, scale_group_size: 4}, targets: ['re:.*down_proj']}]"),
              IsEmpty());
}

TEST(Pruning, RunsOfWandaDivideToo) {
  EXPECT_THAT(Found("steps: [{wanda: {pattern: '5:8'}, ignore: ['re:.*down_proj']}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{magnitude: {pattern: '4:8'}}]"),
              ElementsAre(StartsWith("recipe.steps[0].magnitude.pattern: runs of 8 do not divide the 172 inputs")));
}

TEST(Pruning, AJointSweepIsTheOnlyStepThatPrunesOrQuantizesALinear) {
  const std::string joint = "{sparsegpt: {quantize: {group_size: 4}}}";
  EXPECT_THAT(Found("steps: [" + joint + "]"), IsEmpty());
  for (const char* other : {"rtn: {group_size: 4}", "gptq: {group_size: 4}", "wanda: {}"}) {
    EXPECT_THAT(Found("steps: [" + joint + ", {" + other + "}]"),
                ElementsAre(AllOf(StartsWith("recipe.steps[0].sparsegpt.quantize: prunes and quantizes model.layers."),
                                  HasSubstr(" in one sweep, and steps[1] ("))));
    // After it, the sweep is the last of both.
    EXPECT_THAT(Found("steps: [{" + std::string(other) + "}, " + joint + "]"),
                ElementsAre(AllOf(StartsWith("recipe.steps[0]"), HasSubstr("acts on no linear"))));
  }
  EXPECT_THAT(Found("steps: [{sparsegpt: {}}, {gptq: {group_size: 4}}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{sparsegpt: {quantize: {}}}]"),
              ElementsAre(StartsWith("recipe.steps[0].sparsegpt.quantize.group_size: 128 does not divide")));
}

TEST(Pruning, SparseGptsDefaults) {
  auto recipe = ParseYaml("steps: [{sparsegpt: {}}, {sparsegpt: {pattern: '2:4', quantize: {}}}]");
  ASSERT_TRUE(recipe.ok());
  const v1::Recipe resolved = Resolve(*recipe, Model());
  const v1::SparseGpt& plain = resolved.steps(0).sparsegpt();
  EXPECT_DOUBLE_EQ(plain.sparsity(), 0.5);
  EXPECT_DOUBLE_EQ(plain.damping(), 0.01);
  EXPECT_EQ(plain.block_size(), 128);
  EXPECT_TRUE(plain.true_sequential());
  EXPECT_EQ(plain.on_numeric_failure(), v1::ON_NUMERIC_FAILURE_FALLBACK);
  EXPECT_FALSE(plain.has_quantize());
  const v1::SweepQuantization& quantize = resolved.steps(1).sparsegpt().quantize();
  EXPECT_EQ(quantize.bits(), 4);
  EXPECT_EQ(quantize.group_size(), 128);
  EXPECT_TRUE(quantize.symmetric());
  EXPECT_FALSE(Quantizes(resolved.steps(0)));
  EXPECT_TRUE(Quantizes(resolved.steps(1)));
  EXPECT_TRUE(Prunes(resolved.steps(1)));
}

TEST(Pruning, DsnotsDefaults) {
  auto recipe = ParseYaml("steps: [{dsnot: {}}, {dsnot: {pattern: '2:4'}}]");
  ASSERT_TRUE(recipe.ok());
  const v1::Recipe resolved = Resolve(*recipe, Model());
  const v1::Dsnot& dsnot = resolved.steps(0).dsnot();
  EXPECT_EQ(dsnot.sparsity(), 0.5);
  EXPECT_EQ(dsnot.initial(), v1::Dsnot::INITIAL_WANDA);
  EXPECT_EQ(dsnot.max_cycles(), 50);
  EXPECT_EQ(dsnot.threshold(), 0.1);
  EXPECT_EQ(dsnot.gamma(), 1.0);
  EXPECT_EQ(dsnot.layers(), v1::Dsnot::LAYERS_ATTENTION);
  EXPECT_TRUE(dsnot.has_true_sequential());
  EXPECT_FALSE(dsnot.true_sequential());
  EXPECT_EQ(resolved.steps(1).dsnot().sparsity(), 0.5);
}

TEST(Transforming, Defaults) {
  auto recipe = ParseYaml("steps: [{awq: {}}, {smoothquant: {}}, {gptq: {}}, {spqr: {}}, {sparsegpt: {}}]");
  ASSERT_TRUE(recipe.ok());
  const v1::Recipe resolved = Resolve(*recipe, Model());
  const v1::Awq& awq = resolved.steps(0).awq();
  EXPECT_EQ(awq.bits(), 4);
  EXPECT_EQ(awq.group_size(), 128);
  EXPECT_TRUE(awq.has_symmetric());
  EXPECT_FALSE(awq.symmetric());
  EXPECT_EQ(awq.search(), v1::AWQ_SEARCH_DUO);
  EXPECT_EQ(awq.grid(), 20);
  EXPECT_TRUE(awq.clip());
  EXPECT_EQ(resolved.steps(1).smoothquant().alpha(), 0.5);
  // All statistics of a block are taken before it changes.
  EXPECT_TRUE(resolved.steps(2).gptq().has_true_sequential());
  EXPECT_FALSE(resolved.steps(2).gptq().true_sequential());
  EXPECT_FALSE(resolved.steps(3).spqr().true_sequential());
  EXPECT_FALSE(resolved.steps(4).sparsegpt().true_sequential());
}

TEST(Transforming, ActsOnWhatItCanChange) {
  EXPECT_THAT(Found("steps: [{smoothquant: {}}, {gptq: {group_size: 4}}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{smoothquant: {}, targets: ['re:.*(o|down)_proj']}]"),
              ElementsAre(StartsWith("recipe.steps[0].targets: match none of q, k, v, gate and up_proj")));
  EXPECT_THAT(Found("steps: [{smoothquant: {}, targets: ['re:.*(q|o)_proj']}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{awq: {group_size: 4}}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{awq: {group_size: 64}}]"),
              ElementsAre(StartsWith("recipe.steps[0].awq.group_size: 64 does not divide the 172 inputs of ")));
  EXPECT_THAT(Found("steps: [{awq: {group_size: 4}}, {gptq: {group_size: 4}}]"),
              ElementsAre(StartsWith("recipe.steps[0]: acts on no linear")));
}

TEST(ValidateForModel, OffersTheLargestGroupThatDivides) {
  EXPECT_THAT(Found("steps: [{gptq: {group_size: 64}}]"),
              ElementsAre(AllOf(StartsWith("recipe.steps[0].gptq.group_size: 64 does not divide the 172 inputs of "
                                           "model.layers.0.mlp.down_proj (and 4 more)"),
                                HasSubstr("divides every targeted linear is 4."))));
  // 128 divides neither 64 nor 172.
  EXPECT_THAT(Found("steps: [{rtn: {}}]"),
              ElementsAre(AllOf(StartsWith("recipe.steps[0].rtn.group_size: 128 does not divide the 64 inputs of "
                                           "model.layers.0.self_attn.q_proj (and 34 more)"),
                                HasSubstr("linear is 4."))));
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 4}}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{rtn: {group_size: -1}}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 64}, ignore: ['re:.*down_proj', lm_head]}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 100}}]", Model(192)), ElementsAre(HasSubstr("linear is 64.")));
}

TEST(ValidateForModel, TargetsAndIgnoredPathsMustBeThere) {
  EXPECT_THAT(
      Found("steps: [{rtn: {group_size: 4}, targets: [Linear, model.layers.9.mlp.up_proj, 're:mlp']}]"),
      ElementsAre(AllOf(StartsWith("recipe.steps[0].targets[1]: 'model.layers.9.mlp.up_proj' matches no linear"),
                        HasSubstr("like 'model.layers.0.self_attn.q_proj'")),
                  StartsWith("recipe.steps[0].targets[2]: 're:mlp' matches no linear")));
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 4}, ignore: [model.layers.0.mlp.up, 're:.*mlp\\.gate$', lm_head]}]"),
              ElementsAre(StartsWith("recipe.steps[0].ignore[0]: 'model.layers.0.mlp.up' is no linear")));
}

TEST(ValidateForModel, StepsMustAct) {
  EXPECT_THAT(Found("steps: [{gptq: {group_size: 4}}, {rtn: {group_size: 4}}]"),
              ElementsAre(StartsWith("recipe.steps[0]: acts on no linear")));
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 4}, ignore: [Linear]}]"),
              ElementsAre(StartsWith("recipe.steps[0]: acts on no linear")));
}

TEST(ValidateForModel, TheHeadCannotBeQuantizedYet) {
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 4}, targets: [Linear, lm_head], ignore: ['re:xyz']}]"),
              ElementsAre(AllOf(StartsWith("recipe.steps[0].targets:"), HasSubstr("lm_head"))));
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 4}, targets: ['re:.*'], ignore: ['re:xyz']}]"),
              ElementsAre(StartsWith("recipe.steps[0].targets: match lm_head")));
  // The default ignores it.
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 4}, targets: ['re:.*']}]"), IsEmpty());
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 4}, ignore: ['re:xyz']}]"), IsEmpty());
}

TEST(ValidateForModel, FusedLinearsShareAScheme) {
  EXPECT_THAT(
      Found("steps: [{rtn: {group_size: 4}, ignore: ['re:.*k_proj', lm_head]}]"),
      ElementsAre(AllOf(
          StartsWith("recipe.steps: linears that loaders fuse"), HasSubstr("model.layers.0.self_attn.k_proj: dense"),
          HasSubstr("q_proj: 4 bits, groups of 4, symmetric"), HasSubstr("(and 4 more)"), Not(HasSubstr("up_proj")))));
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 4}}, {rtn: {bits: 8, group_size: 4}, targets: ['re:.*up_proj']}]"),
              ElementsAre(AllOf(HasSubstr("gate_proj: 4 bits"), HasSubstr("up_proj: 8 bits"))));
  // One scheme by two methods is one scheme.
  EXPECT_THAT(Found("steps: [{gptq: {group_size: 4}}, {rtn: {group_size: 4}, targets: ['re:.*up_proj']}]"), IsEmpty());
  // o and down stand alone.
  EXPECT_THAT(Found("steps: [{rtn: {group_size: 4}, ignore: ['re:.*(o|down)_proj', lm_head]}]"), IsEmpty());
}

TEST(ValidateForModel, LengthsStayWithinThePositions) {
  EXPECT_THAT(Found(R"(
calibration: {sequence_length: 513, sources: [{text: {uri: a.txt}}]}
evaluation: {perplexity: [{name: a, uri: a.txt}, {name: b, uri: b.txt, sequence_length: 1024}]}
)"),
              ElementsAre(StartsWith("recipe.calibration.sequence_length: 513 is more than the 512 positions"),
                          StartsWith("recipe.evaluation.perplexity[1].sequence_length: 1024 is more")));
}

TEST(Resolve, FillsEveryDefault) {
  const auto recipe = ParseYaml(R"(
calibration: {sources: [{text: {uri: a.txt}}]}
steps: [{gptq: {}}, {rtn: {bits: 8}}]
evaluation: {perplexity: [{name: a, uri: a.txt}]}
)");
  ASSERT_TRUE(recipe.ok());
  const v1::Recipe resolved = Resolve(*recipe, Model());
  const auto expected = ParseYaml(R"(
calibration:
  sources: [{text: {uri: a.txt, field: text, layout: pack}, domain: general, weight: 1, seed: 0}]
  samples: 128
  sequence_length: 512
  micro_batch: 2
  scored_tokens: 2048
steps:
  - targets: [Linear]
    ignore: [lm_head]
    gptq: {bits: 4, group_size: 128, symmetric: true, act_order: true, damping: 0.01, true_sequential: true,
           block_size: 128, on_numeric_failure: fallback, type: int, strategy: group, activations: none,
           observer: minmax}
  - targets: [Linear]
    ignore: [lm_head]
    rtn: {bits: 8, group_size: 128, symmetric: true, type: int, strategy: group, activations: none, observer: minmax}
output: {format: compressed-tensors, max_shard_bytes: 5000000000}
evaluation:
  perplexity: [{name: a, uri: a.txt, field: text, sequence_length: 512, domain: general}]
  divergence: true
propagation: compressed
)");
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_EQ(resolved.DebugString(), expected->DebugString());
  // Resolving again changes nothing, and what was resolved is valid.
  EXPECT_EQ(Resolve(resolved, Model()).DebugString(), resolved.DebugString());
  EXPECT_THAT(Validate(resolved, true, "recipe"), IsEmpty());
}

TEST(Resolve, KeepsWhatIsGiven) {
  const auto recipe = ParseYaml(R"(
calibration: {sources: [{text: {uri: a.jsonl, field: body, layout: window}}], samples: 3, sequence_length: 100}
steps: [{gptq: {symmetric: false, act_order: false, damping: 0.5, block_size: 64, on_numeric_failure: fail}}]
evaluation: {divergence: false}
)");
  ASSERT_TRUE(recipe.ok());
  const v1::Recipe resolved = Resolve(*recipe, Model());
  EXPECT_EQ(resolved.calibration().micro_batch(), 10);
  EXPECT_EQ(resolved.calibration().sources(0).text().DebugString(),
            recipe->calibration().sources(0).text().DebugString());
  EXPECT_FALSE(resolved.steps(0).gptq().symmetric());
  EXPECT_FALSE(resolved.steps(0).gptq().act_order());
  EXPECT_EQ(resolved.steps(0).gptq().on_numeric_failure(), v1::ON_NUMERIC_FAILURE_FAIL);
  EXPECT_FALSE(resolved.evaluation().divergence());
}

TEST(Resolve, OriginalActivationsHaveNoOrder) {
  const auto recipe = ParseYaml("propagation: original\nsteps: [{gptq: {}}]");
  ASSERT_TRUE(recipe.ok());
  EXPECT_TRUE(Resolve(*recipe, Model()).steps(0).gptq().has_true_sequential());
  EXPECT_FALSE(Resolve(*recipe, Model()).steps(0).gptq().true_sequential());
}

TEST(Resolve, AFileOfIdsDecidesItsShape) {
  const auto recipe = ParseYaml("calibration: {sources: [{token_ids: {uri: a.npy}}]}\nsteps: [{gptq: {}}]");
  ASSERT_TRUE(recipe.ok());
  const v1::Recipe resolved = Resolve(*recipe, Model());
  EXPECT_FALSE(resolved.calibration().has_samples());
  EXPECT_FALSE(resolved.calibration().has_sequence_length());
  EXPECT_FALSE(resolved.calibration().has_micro_batch());
  EXPECT_EQ(DefaultMicroBatch(256), 4);
  EXPECT_EQ(DefaultMicroBatch(3000), 1);
}

TEST(Resolve, AnEvaluationHasNoOutput) {
  const auto recipe = ParseYaml("evaluation: {perplexity: [{name: a, uri: a.txt}]}");
  ASSERT_TRUE(recipe.ok());
  const v1::Recipe resolved = Resolve(*recipe, Model());
  EXPECT_FALSE(resolved.has_output());
  EXPECT_FALSE(resolved.has_calibration());
}

TEST(Presets, ParseValidateAndSaySomething) {
  ASSERT_EQ(Presets().size(), 14u);
  std::vector<std::string> names;
  const arch::ArchSpec spec = [] {
    arch::ArchSpec model = Model(256);
    model.hidden = 256;  // groups of 128 divide
    model.head_dim = 32;
    return model;
  }();
  for (const Preset& preset : Presets()) {
    names.push_back(preset.name);
    SCOPED_TRACE(preset.name);
    EXPECT_GT(preset.summary.size(), 20u);
    EXPECT_NE(preset.summary[0], '#');
    auto recipe = ParseYaml(preset.yaml);
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    if (NeedsStatistics(recipe->steps(0))) {
      // A preset leaves the text to the user, and says so.
      const auto violations = Validate(*recipe, true, "recipe");
      ASSERT_EQ(violations.size(), 1u);
      EXPECT_EQ(violations[0].field, "recipe.calibration.sources");
      EXPECT_THAT(violations[0].description, HasSubstr("--set calibration.sources[0].text.uri=train.jsonl"));
      ASSERT_TRUE(ApplySet("calibration.sources[0].text.uri=train.jsonl", &*recipe).ok());
    }
    EXPECT_THAT(Validate(*recipe, true, "recipe"), IsEmpty());
    const v1::Recipe resolved = Resolve(*recipe, spec);
    EXPECT_THAT(Validate(resolved, true, "recipe"), IsEmpty());
    EXPECT_THAT(ValidateForModel(resolved, spec, "recipe"), IsEmpty());
  }
  EXPECT_THAT(names, ElementsAre("awq-w4a16", "dsnot-60", "fp8-dynamic", "gptq-w4a16", "gptq-w4a16-asym",
                                 "owl-wanda-70", "rtn-w4a16", "smoothquant-w8a8", "sparse24-w4a16", "sparsegpt-2of4",
                                 "sparsegpt-50", "spqr-4bit", "wanda-2of4", "wanda-50"));
}

}  // namespace
}  // namespace calipress::recipe
