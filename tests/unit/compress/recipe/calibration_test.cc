#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/recipe/calibration_plan.h"
#include "compress/recipe/data_kind.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

v1::Recipe Parsed(const std::string& calibration) {
  auto recipe = ParseYaml(absl::StrCat("steps: [{gptq: {}}]\ncalibration: ", calibration));
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? *recipe : v1::Recipe();
}

std::vector<std::string> Found(const std::string& calibration) {
  std::vector<std::string> found;
  for (const FieldViolation& violation : Validate(Parsed(calibration), true, "recipe")) {
    found.push_back(absl::StrCat(violation.field, ": ", violation.description));
  }
  return found;
}

v1::Calibration Resolved(const std::string& calibration) {
  arch::ArchSpec spec;
  spec.max_positions = 512;
  return Resolve(Parsed(calibration), spec).calibration();
}

TEST(CalibrationChecks, SeveralSources) {
  EXPECT_THAT(Found(R"({
    sources: [{text: {uri: a.jsonl.gz}, weight: 2, domain: law}, {random_vocabulary: {}, samples: 4},
              {instructions: {uri: c.jsonl.zst}, seed: 9}, {token_ids: {uri: ids.safetensors}, samples: 1},
              {text: {uri: 's3://b/d.parquet?region=x'}, filter: {min_perplexity: 2, max_perplexity: 50,
               exact_duplicates: true, near_duplicates: 0.8, min_tokens: 5, max_tokens: 5}}],
    samples: 10, draw: {index: 2, of: 3}})"),
              IsEmpty());
}

TEST(CalibrationChecks, EverythingWrongAtOnceWithPaths) {
  EXPECT_THAT(
      Found(R"({
    sources: [{text: {uri: a.csv}, samples: 0}, {random_vocabulary: {}, weight: -1},
              {instructions: {uri: c.txt}}, {token_ids: {uri: ids.bin}, samples: 1, weight: 2},
              {text: {uri: d.txt}, filter: {min_perplexity: 20, max_perplexity: 5, near_duplicates: 0,
               min_tokens: 6, max_tokens: 5}},
              {text: {uri: d.txt}, filter: {min_perplexity: 0.5, near_duplicates: 1.01, min_tokens: 0, max_tokens: 0}},
              {self_generated: {top_p: 2}}, {token_ids: {uri: a.npy, first_row: -1}}],
    draw: {index: 3, of: 3}})"),
      ElementsAre(StartsWith("recipe.calibration.sources[0].text.uri: must name a file that ends with .txt, .jsonl"),
                  StartsWith("recipe.calibration.sources[0].samples: must be at least 1, not 0"),
                  StartsWith("recipe.calibration.sources[1].weight: must be 0 or more, not -1"),
                  StartsWith("recipe.calibration.sources[2].instructions.uri: must name a .jsonl"),
                  StartsWith("recipe.calibration.sources[3].token_ids.uri: must name a .npy or a .safetensors"),
                  StartsWith("recipe.calibration.sources[3].weight: divides calibration.samples"),
                  StartsWith("recipe.calibration.sources[4].filter.min_perplexity: is 20, above max_perplexity 5"),
                  StartsWith("recipe.calibration.sources[4].filter.near_duplicates: must be above 0"),
                  StartsWith("recipe.calibration.sources[4].filter.min_tokens: is 6, above max_tokens 5"),
                  StartsWith("recipe.calibration.sources[5].filter.min_perplexity: must be 1 or more"),
                  StartsWith("recipe.calibration.sources[5].filter.near_duplicates: must be above 0 and at most 1"),
                  StartsWith("recipe.calibration.sources[5].filter.min_tokens: must be at least 1"),
                  StartsWith("recipe.calibration.sources[5].filter.max_tokens: must be at least 1"),
                  StartsWith("recipe.calibration.sources[6].self_generated.top_p: must be above 0"),
                  StartsWith("recipe.calibration.sources[7].token_ids.first_row: must be 0 or more, not -1"),
                  StartsWith("recipe.calibration.draw.index: must be 0 to 2")));
}

TEST(CalibrationChecks, SharesThatAreNone) {
  const std::string two = "{sources: [{text: {uri: a.txt}, weight: 0}, {text: {uri: b.txt}, weight: 0}]}";
  EXPECT_THAT(Found(two), ElementsAre(HasSubstr("weights that sum to 0")));
  EXPECT_THAT(Found("{sources: [{text: {uri: a.txt}, weight: 0}, {text: {uri: b.txt}}]}"), IsEmpty());
  EXPECT_THAT(Found("{samples: 3, sources: [{text: {uri: a.txt}, weight: 0.001}, {text: {uri: b.txt}}]}"),
              ElementsAre(StartsWith("recipe.calibration.sources[0]: gets none of the 3 samples")));
  EXPECT_THAT(Found("{sources: [{text: {uri: a.txt}, weight: 0.001}, {text: {uri: b.txt}}]}"),
              ElementsAre(StartsWith("recipe.calibration.sources[0]: gets none of the 128 samples")));
  EXPECT_THAT(Found("{samples: 3, sources: [{text: {uri: a.txt}, samples: 2}]}"),
              ElementsAre(StartsWith("recipe.calibration.samples: is divided among sources without")));
  EXPECT_THAT(Found("{sources: [{text: {uri: a.txt}}], draw: {index: -1, of: 2}}"),
              ElementsAre(StartsWith("recipe.calibration.draw.index")));
  EXPECT_THAT(Found("{sources: [{text: {uri: a.txt}}], draw: {of: 0}}"),
              ElementsAre(StartsWith("recipe.calibration.draw.of: must be 1 to")));
}

TEST(CalibrationPlan, DividesByLargestRemainder) {
  const auto with = [](const std::string& text) { return SourceSequences(Parsed(text).calibration()); };
  const std::string three =
      ", sources: [{text: {uri: a.txt}, weight: 1}, {text: {uri: b.txt}, weight: 2.5}, {text: {uri: c.txt}}]}";
  // 10 / 4.5: quotas 2.22, 5.56, 2.22.
  EXPECT_THAT(with("{samples: 10" + three), ElementsAre(2, 6, 2));
  // 11: 2.44, 6.11, 2.44: the tie goes to the earlier.
  EXPECT_THAT(with("{samples: 11" + three), ElementsAre(3, 6, 2));
  EXPECT_THAT(with("{samples: 7, sources: [{text: {uri: a.txt}, samples: 5}, {text: {uri: b.txt}}]}"),
              ElementsAre(5, 7));
  EXPECT_THAT(with("{samples: 7, sources: [{text: {uri: a.txt}, weight: 0}, {text: {uri: b.txt}, weight: 3}]}"),
              ElementsAre(0, 7));
  EXPECT_THAT(with("{sources: [{token_ids: {uri: a.npy}}, {token_ids: {uri: b.npy}, samples: 3}]}"),
              ElementsAre(kAllSequences, 3));
}

TEST(CalibrationPlan, DefaultsOfSources) {
  const v1::Calibration mixed = Resolved(
      "{seed: 5, sources: [{text: {uri: a.txt}}, {instructions: {uri: b.jsonl}, seed: 77, domain: chat}, "
      "{token_ids: {uri: c.npy}, samples: 2}]}");
  EXPECT_EQ(mixed.samples(), 128);
  EXPECT_EQ(mixed.sequence_length(), 512);
  EXPECT_EQ(mixed.sources(0).seed(), 5u);
  EXPECT_EQ(mixed.sources(1).seed(), 77u);
  EXPECT_EQ(mixed.sources(2).seed(), 7u);
  EXPECT_EQ(mixed.sources(0).domain(), "general");
  EXPECT_EQ(mixed.sources(1).domain(), "chat");
  EXPECT_EQ(mixed.sources(1).instructions().field(), "messages");
  EXPECT_EQ(mixed.sources(1).instructions().layout(), v1::TEXT_LAYOUT_PACK);
  EXPECT_EQ(CalibrationSequences(mixed), 130);
  const v1::Calibration own = Resolved("{sources: [{text: {uri: a.txt}, samples: 3}]}");
  EXPECT_FALSE(own.has_samples());
  EXPECT_EQ(CalibrationSequences(own), 3);
  EXPECT_EQ(CalibrationSequences(Resolved("{sources: [{token_ids: {uri: c.npy}}]}")), std::nullopt);
}

TEST(CalibrationPlan, WhoAsksTheModelAndTheTokenizer) {
  const auto model = [](const std::string& text) { return AsksModel(Parsed(text).calibration()); };
  EXPECT_FALSE(model("{sources: [{text: {uri: a.txt}, filter: {near_duplicates: 0.5, min_tokens: 3}}]}"));
  EXPECT_TRUE(model("{sources: [{text: {uri: a.txt}}, {text: {uri: a.txt}, filter: {max_perplexity: 3}}]}"));
  EXPECT_TRUE(model("{sources: [{self_generated: {}}]}"));
  EXPECT_TRUE(model("{sources: [{prefix_generated: {prefixes: {uri: a.txt}}}]}"));
  EXPECT_TRUE(model("{sources: [{text: {uri: a.txt}}], scored_tokens: 1}"));
  EXPECT_FALSE(model("{sources: [{text: {uri: a.txt}}], scored_tokens: 0}"));
  EXPECT_FALSE(model("{scored_tokens: 5}"));
  EXPECT_FALSE(NeedsTokenizer(Parsed("{sources: [{token_ids: {uri: a.npy}}]}").calibration()));
  EXPECT_TRUE(NeedsTokenizer(Parsed("{sources: [{random_vocabulary: {}}]}").calibration()));
}

TEST(DataKind, EndingsInAnyCaseWithoutQueries) {
  EXPECT_EQ(DataKindOf("a.txt"), DataKind::kText);
  EXPECT_EQ(DataKindOf("s3://b/A.JSONL.GZ?x=y.npy"), DataKind::kJsonLines);
  EXPECT_EQ(DataKindOf("dir.txt/a"), DataKind::kUnknown);
  EXPECT_EQ(DataKindOf("a.gz"), DataKind::kUnknown);
  EXPECT_EQ(DataKindOf("a.txt.gz"), DataKind::kUnknown);
  EXPECT_EQ(DataKindOf("x/a.Parquet"), DataKind::kParquet);
  EXPECT_EQ(DataKindOf("a.safetensors"), DataKind::kSafetensors);
  EXPECT_EQ(PackingOf("a.jsonl.xz"), storage::Packing::kXz);
  EXPECT_EQ(PackingOf("a.jsonl.zst"), storage::Packing::kZstd);
  EXPECT_EQ(PackingOf("a.jsonl"), std::nullopt);
}

}  // namespace
}  // namespace calipress::recipe
