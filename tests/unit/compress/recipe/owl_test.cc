#include "compress/recipe/owl.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::Recipe Parsed(const std::string& step, bool calibrated = true) {
  auto recipe = ParseYaml(
      absl::StrCat(calibrated ? "calibration: {sources: [{text: {uri: a.txt}}]}\n" : "", "steps: [{", step, "}]"));
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? *std::move(recipe) : v1::Recipe();
}

v1::Step Resolved(const std::string& step) { return Resolve(Parsed(step), arch::ArchSpec()).steps(0); }

TEST(Owl, AcceptsWhatIsRight) {
  for (const char* step :
       {"wanda: {sparsity: 0.7, owl: {}}", "magnitude: {owl: {lambda: 0}}", "wanda: {variant: true, owl: {}}",
        "wanda: {pattern: \"5:8\", owl: {lambda: 2}}", "magnitude: {pattern: \"2:4\", owl: {}}",
        "sparsegpt: {sparsity: 0.6, owl: {}}", "wanda: {sparsity: 0.7, owl: {lambda: 0.29, outlier_threshold: 10}}"}) {
    EXPECT_THAT(Validate(Parsed(step), true, "recipe"), IsEmpty()) << step;
  }
}

TEST(Owl, RefusesWhatDoesNotFit) {
  const char* const refused[][2] = {
      {"wanda: {sparsity: 0.7, owl: {lambda: 0.3}}", "wanda.owl.lambda"},
      {"wanda: {sparsity: 0.05, owl: {}}", "wanda.owl.lambda"},
      {"sparsegpt: {sparsity: 0.05, owl: {}}", "sparsegpt.owl.lambda"},
      {"magnitude: {owl: {lambda: -0.1}}", "magnitude.owl.lambda"},
      {"wanda: {pattern: \"5:8\", owl: {lambda: 1.5}}", "wanda.owl.lambda"},
      {"wanda: {pattern: \"5:8\", owl: {lambda: 3}}", "wanda.owl.lambda"},
      {"wanda: {pattern: \"2:4\", owl: {lambda: 2}}", "wanda.owl.lambda"},
      {"wanda: {pattern: \"1:2\", owl: {}}", "wanda.owl"},
      {"wanda: {owl: {outlier_threshold: 0}}", "wanda.owl.outlier_threshold"},
      // Once, by its own field.
      {"wanda: {sparsity: 1, owl: {}}", "wanda.sparsity"},
      {"wanda: {pattern: \"9:8\", owl: {}}", "wanda.pattern"},
  };
  for (const auto& [step, field] : refused) {
    const auto violations = Validate(Parsed(step), true, "recipe");
    ASSERT_EQ(violations.size(), 1u) << step;
    EXPECT_EQ(violations[0].field, absl::StrCat("recipe.steps[0].", field)) << violations[0].description;
  }
  EXPECT_THAT(Validate(Parsed("wanda: {sparsity: 0.05, owl: {}}"), true, "recipe")[0].description,
              HasSubstr("below 0.05"));
}

TEST(Owl, RefusesWhatNoYamlHas) {
  v1::Recipe recipe = Parsed("wanda: {owl: {}}");
  v1::Owl* owl = recipe.mutable_steps(0)->mutable_wanda()->mutable_owl();
  owl->set_lambda(std::numeric_limits<double>::quiet_NaN());
  owl->set_outlier_threshold(std::numeric_limits<double>::infinity());
  EXPECT_EQ(Validate(recipe, true, "recipe").size(), 2u);
}

TEST(Owl, NeedsCalibrationAlsoForMagnitude) {
  const auto violations = Validate(Parsed("magnitude: {owl: {}}", /*calibrated=*/false), true, "recipe");
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].field, "recipe.calibration.sources");
}

TEST(Owl, DefaultsDependOnThePattern) {
  EXPECT_EQ(Resolved("wanda: {owl: {}}").wanda().owl().lambda(), 0.08);
  EXPECT_EQ(Resolved("wanda: {owl: {}}").wanda().owl().outlier_threshold(), 5.0);
  EXPECT_EQ(Resolved("magnitude: {pattern: \"5:8\", owl: {}}").magnitude().owl().lambda(), 2.0);
  EXPECT_EQ(Resolved("wanda: {pattern: \"2:4\", owl: {}}").wanda().owl().lambda(), 1.0);
  EXPECT_EQ(Resolved("wanda: {owl: {lambda: 0}}").wanda().owl().lambda(), 0.0);
  EXPECT_EQ(Resolved("sparsegpt: {owl: {}}").sparsegpt().owl().lambda(), 0.08);
  EXPECT_FALSE(Resolved("wanda: {}").wanda().has_owl());
}

TEST(Owl, OneBlocksStepHasItsRatioAndNoMoreToCome) {
  const v1::Step step = Resolved("wanda: {variant: true, sparsity: 0.7, owl: {}}");
  ASSERT_NE(OwlOf(step), nullptr);
  const v1::Step own = WithRatio(step, 0.62, "");
  EXPECT_EQ(SparsityOf(own), 0.62);
  EXPECT_TRUE(own.wanda().variant());
  EXPECT_EQ(OwlOf(own), nullptr);
  const v1::Step mixed = WithRatio(Resolved("magnitude: {pattern: \"5:8\", owl: {}}"), 0.5, "4:8");
  EXPECT_EQ(PatternOf(mixed), "4:8");
  EXPECT_EQ(SparsityOf(mixed), 0.5);
  EXPECT_EQ(SparsityOf(WithRatio(Resolved("sparsegpt: {owl: {}}"), 0.4, "")), 0.4);
  EXPECT_EQ(OwlOf(Resolved("gptq: {}")), nullptr);
}

}  // namespace
}  // namespace calipress::recipe
