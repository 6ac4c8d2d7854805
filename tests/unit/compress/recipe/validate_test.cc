#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "compress/recipe/recipe.h"
#include "google/protobuf/unknown_field_set.h"

namespace calipress::recipe {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

v1::Recipe Parsed(std::string_view yaml) {
  auto recipe = ParseYaml(yaml);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? *std::move(recipe) : v1::Recipe();
}

std::vector<std::string> Found(const v1::Recipe& recipe, bool has_output = true) {
  std::vector<std::string> all;
  for (const FieldViolation& v : Validate(recipe, has_output, "recipe")) all.push_back(v.field + ": " + v.description);
  return all;
}
std::vector<std::string> Found(std::string_view yaml, bool has_output = true) {
  return Found(Parsed(yaml), has_output);
}

constexpr char kCalibration[] = "calibration: {sources: [{text: {uri: a.jsonl}}]}\n";

TEST(Validate, AcceptsWhatIsRight) {
  EXPECT_THAT(Found(absl::StrCat(kCalibration, "steps: [{gptq: {}}]")), IsEmpty());
  EXPECT_THAT(Found("steps: [{rtn: {bits: 3, group_size: -1}}]"), IsEmpty());
  EXPECT_THAT(Found("calibration: {sources: [{token_ids: {uri: s3://b/ids.npy}}]}\nsteps: [{gptq: {}}]"), IsEmpty());
  EXPECT_THAT(Found("evaluation: {perplexity: [{name: a, uri: A.TXT}], reference: other}", false), IsEmpty());
}

TEST(Validate, ReportsEverythingAtOnceWithPaths) {
  EXPECT_THAT(Found(R"(
calibration: {sources: [{text: {uri: a.jsonl}}], samples: 0, sequence_length: 0, micro_batch: 0}
steps:
  - gptq: {bits: 5, group_size: 0, damping: 0, block_size: 8}
    targets: ["re:("]
  - targets: [Linear]
  - rtn: {bits: 1, group_size: -2}
output: {format: gguf, max_shard_bytes: 0}
evaluation: {perplexity: [{uri: a.csv, sequence_length: 1, max_windows: -1}]}
)"),
              ElementsAre(AllOf(StartsWith("recipe.steps[0].targets[0]:"), HasSubstr("regular expression")),
                          StartsWith("recipe.steps[0].gptq.bits: must be 2, 3, 4 or 8, not 5"),
                          StartsWith("recipe.steps[0].gptq.group_size:"), StartsWith("recipe.steps[0].gptq.damping:"),
                          StartsWith("recipe.steps[0].gptq.block_size:"), StartsWith("recipe.steps[1]: has no method"),
                          StartsWith("recipe.steps[2].rtn.bits:"), StartsWith("recipe.steps[2].rtn.group_size:"),
                          StartsWith("recipe.calibration.samples:"), StartsWith("recipe.calibration.sequence_length:"),
                          StartsWith("recipe.calibration.micro_batch:"), StartsWith("recipe.output.format:"),
                          StartsWith("recipe.output.max_shard_bytes:"),
                          StartsWith("recipe.evaluation.perplexity[0].name: is required"),
                          StartsWith("recipe.evaluation.perplexity[0].uri: must name a file"),
                          StartsWith("recipe.evaluation.perplexity[0].sequence_length:"),
                          StartsWith("recipe.evaluation.perplexity[0].max_windows:")));
}

TEST(Validate, SaysHowToGiveTheMissingSource) {
  EXPECT_THAT(
      Found("steps: [{rtn: {}}, {gptq: {}}]"),
      ElementsAre("recipe.calibration.sources: step 1 (gptq) needs calibration text, and the recipe names none; "
                  "give it with --calibration URI, or --set calibration.sources[0].text.uri=train.jsonl"));
  EXPECT_THAT(Found("steps: [{rtn: {}}]"), IsEmpty());
}

TEST(Validate, Sources) {
  const auto with = [](const std::string& sources) {
    return Found(absl::StrCat("calibration: {sources: ", sources, "}\nsteps: [{gptq: {}}]"));
  };
  EXPECT_THAT(with("[{}]"), ElementsAre(StartsWith("recipe.calibration.sources[0]: has no source")));
  EXPECT_THAT(with("[{text: {}}]"), ElementsAre("recipe.calibration.sources[0].text.uri: is required"));
  EXPECT_THAT(with("[{text: {uri: a.npy}}]"),
              ElementsAre(HasSubstr(".text.uri: must name a file that ends with .txt, .jsonl")));
  EXPECT_THAT(with("[{token_ids: {uri: a.txt}}]"),
              ElementsAre(HasSubstr(".token_ids.uri: must name a .npy or a .safetensors")));
  EXPECT_THAT(with("[{text: {uri: 'ftp://b/a.txt'}}]"), ElementsAre(StartsWith("recipe.calibration.sources[0].text")));
}

TEST(Validate, DampingIsAShareAboveZero) {
  const auto with = [](const std::string& damping) {
    return Found(absl::StrCat(kCalibration, "steps: [{gptq: {damping: ", damping, "}}]"));
  };
  EXPECT_THAT(with("1e-6"), IsEmpty());
  EXPECT_THAT(with("1"), IsEmpty());
  EXPECT_THAT(with("0"), ElementsAre(HasSubstr("above 0")));
  EXPECT_THAT(with("-0.1"), ElementsAre(HasSubstr("above 0")));
  EXPECT_THAT(with("1.01"), ElementsAre(HasSubstr("at most 1")));
  v1::Recipe recipe = Parsed(absl::StrCat(kCalibration, "steps: [{gptq: {}}]"));
  recipe.mutable_steps(0)->mutable_gptq()->set_damping(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(Found(recipe), ElementsAre(HasSubstr("damping")));
}

TEST(Validate, TrueSequentialAndOriginalExclude) {
  const std::string original = absl::StrCat(kCalibration, "propagation: original\n");
  EXPECT_THAT(Found(original + "steps: [{gptq: {true_sequential: true}}]"),
              ElementsAre(StartsWith("recipe.steps[0].gptq.true_sequential: is not possible")));
  EXPECT_THAT(Found(original + "steps: [{gptq: {true_sequential: false}}]"), IsEmpty());
  EXPECT_THAT(Found(original + "steps: [{magnitude: {}}, {wanda: {true_sequential: true}}]"),
              ElementsAre(StartsWith("recipe.steps[1].wanda.true_sequential: is not possible")));
  EXPECT_THAT(Found(original + "steps: [{dsnot: {true_sequential: true}}]"),
              ElementsAre(StartsWith("recipe.steps[0].dsnot.true_sequential: is not possible")));
  EXPECT_THAT(Found(original + "steps: [{gptq: {}}]"), IsEmpty());
}

TEST(Validate, OutputStepsAndEvaluationGoTogether) {
  EXPECT_THAT(Found("{}", true), ElementsAre(HasSubstr("needs at least one step")));
  EXPECT_THAT(Found("steps: [{rtn: {}}]", false),
              ElementsAre(StartsWith("recipe.steps: a job with steps needs an output"),
                          StartsWith("recipe.evaluation: a job without an output")));
  EXPECT_THAT(Found("steps: [{rtn: {}}]\nevaluation: {reference: m}"),
              ElementsAre(StartsWith("recipe.evaluation.reference: a job with steps")));
}

TEST(Validate, EvaluationNamesAreUnique) {
  EXPECT_THAT(Found("evaluation: {perplexity: [{name: a, uri: a.txt}, {name: a, uri: b.txt}]}", false),
              ElementsAre(StartsWith("recipe.evaluation.perplexity[1].name: 'a' is used twice")));
}

TEST(Validate, BoundsWhatARequestCanCost) {
  v1::Recipe recipe = Parsed(absl::StrCat(kCalibration, "steps: [{gptq: {}}]"));
  recipe.mutable_calibration()->set_samples(std::numeric_limits<int32_t>::max());
  recipe.mutable_calibration()->set_sequence_length(std::numeric_limits<int32_t>::max());
  EXPECT_THAT(Found(recipe), ElementsAre(HasSubstr("268435456 tokens")));
  recipe = Parsed("steps: [{rtn: {}}]");
  recipe.mutable_steps(0)->add_targets(std::string(10'000, 'a'));
  EXPECT_THAT(Found(recipe), ElementsAre(HasSubstr("at most 512")));
  for (int i = 0; i < 1000; ++i) recipe.mutable_steps(0)->add_targets("re:a");
  EXPECT_THAT(Found(recipe), ElementsAre(HasSubstr("at most 256 patterns")));
  for (int i = 0; i < 1000; ++i) recipe.add_steps();
  EXPECT_THAT(Found(recipe), ElementsAre(HasSubstr("at most 32 steps")));
}

TEST(Validate, RefusesWhatANewerClientKnows) {
  v1::Recipe recipe = Parsed("steps: [{rtn: {}}]");
  recipe.set_propagation(static_cast<v1::Propagation>(9));
  EXPECT_THAT(Found(recipe), ElementsAre(StartsWith("recipe.propagation:")));
  recipe = Parsed("steps: [{rtn: {}}]");
  v1::Step* step = recipe.mutable_steps(0);
  step->GetReflection()->MutableUnknownFields(step)->AddVarint(500, 1);
  EXPECT_THAT(Found(recipe), ElementsAre(StartsWith("recipe.steps[0]: has fields that this version does not know")));
}

google::protobuf::RepeatedPtrField<std::string> List(std::initializer_list<std::string> texts) {
  google::protobuf::RepeatedPtrField<std::string> list;
  for (const std::string& text : texts) list.Add(std::string(text));
  return list;
}

TEST(MatchesAny, LinearPathAndExpression) {
  constexpr char kQuery[] = "model.layers.0.self_attn.q_proj";
  EXPECT_TRUE(MatchesAny(List({"Linear"}), kQuery));
  EXPECT_FALSE(MatchesAny(List({"Linear"}), "lm_head"));
  EXPECT_TRUE(MatchesAny(List({kQuery}), kQuery));
  EXPECT_FALSE(MatchesAny(List({"model.layers.0"}), kQuery));
  EXPECT_TRUE(MatchesAny(List({"re:model\\.layers\\.0"}), kQuery));  // anchored at the start, not at the end
  EXPECT_FALSE(MatchesAny(List({"re:q_proj"}), kQuery));
  EXPECT_TRUE(MatchesAny(List({"x", "re:.*q_proj$"}), kQuery));
  EXPECT_FALSE(MatchesAny(List({"re:("}), kQuery));
  EXPECT_FALSE(MatchesAny(List({}), kQuery));
}

TEST(MatchesAny, HostileExpressionsTakeLinearTime) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(MatchesAny(List({"re:(a+)+$"}), std::string(5000, 'a') + "b"));
  EXPECT_THAT(Validate(Parsed("steps: [{rtn: {}, targets: ['re:((a{1000}){1000}){1000}', 're:(?=a)b']}]"), true, "r"),
              testing::SizeIs(2));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Steps, LastMatchingStepActs) {
  const v1::Recipe recipe = Parsed(R"(
steps:
  - gptq: {bits: 8, group_size: 32, symmetric: false}
  - rtn: {}
    targets: ["re:.*down_proj"]
    ignore: [b.down_proj]
)");
  EXPECT_EQ(StepsFor(recipe, "a.q_proj"), std::vector<int>{0});
  EXPECT_EQ(StepsFor(recipe, "a.down_proj"), std::vector<int>{1});
  EXPECT_EQ(StepsFor(recipe, "b.down_proj"), std::vector<int>{0});
  EXPECT_TRUE(StepsFor(recipe, "lm_head").empty());
  EXPECT_EQ(SchemeOf(recipe.steps(0)), (checkpoint::QuantizationScheme{8, 32, false}));
  EXPECT_EQ(SchemeOf(recipe.steps(1)), (checkpoint::QuantizationScheme{4, 128, true}));
  EXPECT_EQ(MethodName(recipe.steps(0)), "gptq");
  EXPECT_EQ(MethodName(recipe.steps(1)), "rtn");
  EXPECT_TRUE(NeedsStatistics(recipe.steps(0)));
  EXPECT_FALSE(NeedsStatistics(recipe.steps(1)));
}

TEST(Grids, WhatSomeLoaderTakes) {
  for (const char* method :
       {"rtn: {type: float}", "gptq: {type: float, bits: 8, group_size: -1, strategy: channel}",
        "rtn: {type: float, strategy: tensor, activations: static}", "gptq: {type: float, strategy: block}",
        "gptq: {type: float, strategy: block, activations: dynamic}", "rtn: {bits: 8, activations: dynamic}",
        "gptq: {bits: 8, strategy: tensor, activations: static, observer: mse}",
        "rtn: {bits: 8, symmetric: false, activations: dynamic}", "gptq: {group_size: 64, activations: dynamic}",
        "rtn: {strategy: group}", "rtn: {strategy: channel, observer: mse}",
        "rtn: {strategy: group, group_size: 32}"}) {
    EXPECT_THAT(Found(absl::StrCat(kCalibration, "steps: [{", method, "}]")), IsEmpty()) << method;
  }
}

TEST(Grids, WhatNoneTakesIsRefusedWithItsField) {
  const char* const refused[][2] = {
      {"rtn: {type: float, bits: 4}", "rtn.bits: must be 8 for floats"},
      {"gptq: {type: float, symmetric: false}", "gptq.symmetric: must be true"},
      {"gptq: {type: float, group_size: 128}", "gptq.group_size: floats are not in groups"},
      {"rtn: {type: float, strategy: group}", "rtn.strategy: must be channel, tensor or block"},
      {"rtn: {type: float, strategy: block, activations: static}", "rtn.activations: must be none or dynamic"},
      {"rtn: {strategy: block}", "rtn.strategy: block is for floats"},
      {"rtn: {strategy: tensor}", "rtn.strategy: tensor is for quantized activations"},
      {"rtn: {strategy: channel, group_size: 64}", "rtn.group_size: is for strategy: group"},
      {"rtn: {strategy: group, group_size: -1}", "rtn.group_size: is -1"},
      {"gptq: {bits: 8, group_size: 128, activations: dynamic}", "gptq.group_size: 8-bit weights"},
      {"gptq: {bits: 4, activations: static}", "gptq.activations: 4-bit weights go with dynamic"},
      {"gptq: {bits: 4, symmetric: false, activations: dynamic}", "gptq.symmetric: must be true for 4-bit"},
      {"rtn: {bits: 3, activations: dynamic}", "rtn.activations: no loader takes"},
  };
  for (const auto& [method, violation] : refused) {
    EXPECT_THAT(Found(absl::StrCat(kCalibration, "steps: [{", method, "}]")),
                ElementsAre(StartsWith(absl::StrCat("recipe.steps[0].", violation))))
        << method;
  }
  EXPECT_THAT(Found("steps: [{rtn: {bits: 8, activations: static}}]"),
              ElementsAre(HasSubstr("step 0 (rtn) needs calibration text")));
}

TEST(Grids, DefaultsSayWhatTheSchemeIs) {
  using checkpoint::NumberType;
  using checkpoint::Strategy;
  const auto scheme = [](const char* method) {
    const v1::Recipe recipe = Parsed(absl::StrCat("steps: [{rtn: {", method, "}}]"));
    const v1::Recipe resolved = Resolve(recipe, arch::ArchSpec());
    EXPECT_THAT(Validate(resolved, true, "recipe"), testing::SizeIs(NeedsStatistics(resolved.steps(0)) ? 1 : 0));
    EXPECT_EQ(SchemeOf(recipe.steps(0)), SchemeOf(resolved.steps(0)));
    return SchemeOf(resolved.steps(0));
  };
  EXPECT_EQ(scheme(""), (checkpoint::QuantizationScheme{4, 128, true}));
  EXPECT_EQ(scheme("group_size: -1"), (checkpoint::QuantizationScheme{4, -1, true}.Normalized()));
  EXPECT_EQ(scheme("type: float"),
            (checkpoint::QuantizationScheme{8, -1, true, NumberType::kFloat, Strategy::kChannel}));
  EXPECT_EQ(scheme("type: float, strategy: block"),
            (checkpoint::QuantizationScheme{8, -1, true, NumberType::kFloat, Strategy::kBlock}));
  EXPECT_EQ(scheme("bits: 8, activations: static"),
            (checkpoint::QuantizationScheme{8, -1, true, NumberType::kInt, Strategy::kChannel,
                                            checkpoint::Activations::kStatic}));
  EXPECT_EQ(scheme("strategy: group"), (checkpoint::QuantizationScheme{4, 128, true}));
}

TEST(Validate, AnImatrixNeedsTextAndSteps) {
  EXPECT_THAT(Found(absl::StrCat(kCalibration, "steps: [{rtn: {}}]\noutput: {imatrix: true}")), IsEmpty());
  EXPECT_THAT(Found("steps: [{rtn: {}}]\noutput: {imatrix: true}"),
              ElementsAre(StartsWith("recipe.output.imatrix: takes sums over calibration text")));
  EXPECT_THAT(Found("evaluation: {perplexity: [{name: a, uri: a.txt}]}\noutput: {imatrix: true}", false),
              ElementsAre(StartsWith("recipe.output.imatrix: is of jobs with steps")));
}

TEST(Steps, PruningAmountsAreChecked) {
  const char* const refused[][2] = {
      {"wanda: {sparsity: 1}", "wanda.sparsity"},
      {"wanda: {sparsity: -0.1}", "wanda.sparsity"},
      {"magnitude: {pattern: \"4:4\"}", "magnitude.pattern"},
      {"magnitude: {sparsity: 0.6, pattern: \"2:4\"}", "magnitude.sparsity"},
      {"wanda: {variant: true, pattern: \"2:4\"}", "wanda.variant"},
  };
  const std::string text = "calibration: {sources: [{text: {uri: a.txt}}]}\nsteps: [{";
  for (const auto& [step, field] : refused) {
    const auto violations = Validate(Parsed(text + step + "}]"), /*has_output=*/true, "recipe");
    ASSERT_EQ(violations.size(), 1u) << step;
    EXPECT_EQ(violations[0].field, "recipe.steps[0]." + std::string(field));
  }
  for (const char* step : {"wanda: {}", "wanda: {sparsity: 0.5, pattern: \"2:4\"}", "wanda: {pattern: \"5:8\"}",
                           "magnitude: {sparsity: 0}", "wanda: {variant: true}"}) {
    EXPECT_TRUE(Validate(Parsed(text + step + "}]"), /*has_output=*/true, "recipe").empty()) << step;
  }
}

TEST(Steps, DsnotOptionsHaveRanges) {
  const std::string head = "calibration: {sources: [{text: {uri: a.txt}}]}\nsteps: [{dsnot: {";
  const char* const wrong[][2] = {
      {"sparsity: 1", "sparsity: must be at least 0 and below 1, not 1"},
      {"pattern: '4:4'", "pattern: must be N:M with 0 < N < M"},
      {"pattern: '2:4', sparsity: 0.6", "sparsity: is 0.6, and the pattern 2:4 removes 0.5"},
      {"max_cycles: -1", "max_cycles: must be 0 to"},
      {"threshold: -0.5", "threshold: must be 0 or more"},
      {"gamma: -1", "gamma: must be 0 to 8"},
      {"gamma: 9", "gamma: must be 0 to 8"},
  };
  for (const auto& [options, text] : wrong) {
    EXPECT_THAT(Found(head + options + "}}]"), ElementsAre(StartsWith(absl::StrCat("recipe.steps[0].dsnot.", text))));
  }
  for (const char* right : {"", "sparsity: 0.6, layers: all, same_sign: true", "pattern: '5:8', initial: sparsegpt",
                            "max_cycles: 0, threshold: 0, gamma: 0"}) {
    EXPECT_THAT(Found(head + right + "}}]"), IsEmpty()) << right;
  }
  EXPECT_THAT(Found("steps: [{dsnot: {}}]"), ElementsAre(HasSubstr("needs calibration text")));
}

TEST(Steps, AwqAndSmoothQuantOptionsHaveRanges) {
  const std::string head = "calibration: {sources: [{text: {uri: a.txt}}]}\nsteps: [{";
  const char* const wrong[][2] = {
      {"awq: {bits: 3}", "awq.bits: must be 4 or 8, not 3"},
      {"awq: {group_size: 0}", "awq.group_size: must be a positive number of columns, or -1"},
      {"awq: {grid: 0}", "awq.grid: must be 1 to 100, not 0"},
      {"awq: {grid: 101}", "awq.grid: must be 1 to 100, not 101"},
      {"smoothquant: {alpha: -0.5}", "smoothquant.alpha: must be 0 to 1, not -0.5"},
      {"smoothquant: {alpha: 1.5}", "smoothquant.alpha: must be 0 to 1, not 1.5"},
  };
  for (const auto& [step, text] : wrong) {
    EXPECT_THAT(Found(head + step + "}]"), ElementsAre(StartsWith(absl::StrCat("recipe.steps[0].", text))));
  }
  for (const char* right : {"awq: {}", "awq: {bits: 8, group_size: -1, symmetric: true, search: activations, grid: 1}",
                            "smoothquant: {}", "smoothquant: {alpha: 0}", "smoothquant: {alpha: 1}"}) {
    EXPECT_THAT(Found(head + right + "}]"), IsEmpty()) << right;
  }
  EXPECT_THAT(Found("steps: [{awq: {}}]"), ElementsAre(HasSubstr("needs calibration text")));
  EXPECT_THAT(Found("steps: [{smoothquant: {}}]"), ElementsAre(HasSubstr("needs calibration text")));
}

TEST(Steps, WhatTransformsTakesNoOrderWithinABlock) {
  const std::string head = "calibration: {sources: [{text: {uri: a.txt}}]}\nsteps: [";
  EXPECT_THAT(Found(head + "{smoothquant: {}}, {gptq: {true_sequential: true}}]"),
              ElementsAre(AllOf(StartsWith("recipe.steps[1].gptq.true_sequential: is not possible with smoothquant"),
                                HasSubstr("remove it"))));
  EXPECT_THAT(Found(head + "{gptq: {true_sequential: true}, targets: ['re:.*q_proj']}, {awq: {}}]"),
              ElementsAre(StartsWith("recipe.steps[0].gptq.true_sequential: is not possible with awq")));
  EXPECT_THAT(Found(head + "{sparsegpt: {true_sequential: true}}, {awq: {}}]"),
              ElementsAre(StartsWith("recipe.steps[0].sparsegpt.true_sequential: is not possible with awq")));
  EXPECT_THAT(Found(head + "{smoothquant: {}}, {gptq: {true_sequential: false}}]"), IsEmpty());
  EXPECT_THAT(Found(head + "{smoothquant: {}}, {gptq: {}}]"), IsEmpty());
}

TEST(Steps, AwqActsWhereItQuantizes) {
  const v1::Recipe recipe = Parsed(
      "steps: [{awq: {}}, {smoothquant: {}}, {wanda: {}}, "
      "{gptq: {}, targets: ['re:.*down_proj']}]");
  EXPECT_EQ(StepsFor(recipe, "a.q_proj"), (std::vector<int>{1, 2, 0}));
  EXPECT_EQ(StepsFor(recipe, "a.down_proj"), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(SchemeOf(recipe.steps(0)), (checkpoint::QuantizationScheme{4, 128, false}));
  EXPECT_TRUE(Transforms(recipe.steps(0)) && Quantizes(recipe.steps(0)));
  EXPECT_TRUE(Transforms(recipe.steps(1)) && !Quantizes(recipe.steps(1)));
}

TEST(Steps, SparseGptOptionsHaveRanges) {
  const std::string head = "calibration: {sources: [{text: {uri: a.txt}}]}\nsteps: [{sparsegpt: {";
  const char* const wrong[][2] = {
      {"sparsity: 1", "sparsity: must be at least 0 and below 1, not 1"},
      {"pattern: '4:4'", "pattern: must be N:M with 0 < N < M"},
      {"pattern: '2:4', sparsity: 0.6", "sparsity: is 0.6, and the pattern 2:4 removes 0.5"},
      {"damping: 0", "damping: must be above 0 and at most 1"},
      {"block_size: 100", "block_size: must be a multiple of 8 from 16 to 4096, not 100"},
      {"block_size: 8", "block_size: must be a multiple of 8"},
      {"quantize: {bits: 5}", "quantize.bits: must be 2, 3, 4 or 8, not 5"},
      {"quantize: {group_size: 0}", "quantize.group_size: must be a positive number"},
  };
  for (const auto& [options, text] : wrong) {
    EXPECT_THAT(Found(head + options + "}}]"),
                ElementsAre(StartsWith(absl::StrCat("recipe.steps[0].sparsegpt.", text))));
  }
  for (const char* right : {"", "sparsity: 0.6, block_size: 64, true_sequential: true", "pattern: '5:8', damping: 1",
                            "quantize: {}", "pattern: '2:4', quantize: {bits: 3, group_size: -1, symmetric: false}"}) {
    EXPECT_THAT(Found(head + right + "}}]"), IsEmpty()) << right;
  }
  EXPECT_THAT(Found(head + "true_sequential: true}}]\npropagation: original"),
              ElementsAre(StartsWith("recipe.steps[0].sparsegpt.true_sequential: is not possible")));
  EXPECT_THAT(Found("steps: [{sparsegpt: {}}]"), ElementsAre(HasSubstr("needs calibration text")));
}

TEST(Steps, SpqrOptionsHaveRanges) {
  const v1::Recipe recipe = Parsed(R"(
calibration: {sources: [{text: {uri: a.txt}}]}
steps: [{spqr: {bits: 8, group_size: 1, scale_bits: 0, damping: 0, outlier_threshold: -1}}]
)");
  EXPECT_EQ(Validate(recipe, /*has_output=*/true, "recipe").size(), 5u);
}

}  // namespace
}  // namespace calipress::recipe
