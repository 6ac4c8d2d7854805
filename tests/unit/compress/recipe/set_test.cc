#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

using ::testing::HasSubstr;

v1::Recipe Gptq() {
  v1::Recipe recipe;
  recipe.add_steps()->mutable_gptq()->set_bits(4);
  return recipe;
}

// Applies to a GPTQ recipe; the recipe must be untouched where it fails.
std::string ErrorOf(std::string_view assignment) {
  v1::Recipe recipe = Gptq();
  const absl::Status status = ApplySet(assignment, &recipe);
  EXPECT_EQ(recipe.SerializeAsString(), Gptq().SerializeAsString()) << assignment;
  EXPECT_EQ(ErrorReason(status), "INVALID_RECIPE") << assignment;
  return std::string(status.message());
}

v1::Recipe Applied(std::vector<std::string> assignments) {
  v1::Recipe recipe = Gptq();
  for (const std::string& assignment : assignments) {
    const absl::Status status = ApplySet(assignment, &recipe);
    EXPECT_TRUE(status.ok()) << assignment << ": " << status;
  }
  return recipe;
}

TEST(ApplySet, SetsFieldsByPath) {
  const v1::Recipe recipe = Applied({"steps[0].gptq.group_size=64", "calibration.samples=32", "propagation=original",
                                     "recipe.steps[0].gptq.symmetric=false", "steps[0].targets=[Linear, a.b]"});
  EXPECT_EQ(recipe.steps(0).gptq().bits(), 4);
  EXPECT_EQ(recipe.steps(0).gptq().group_size(), 64);
  EXPECT_FALSE(recipe.steps(0).gptq().symmetric());
  EXPECT_EQ(recipe.calibration().samples(), 32);
  EXPECT_EQ(recipe.propagation(), v1::PROPAGATION_ORIGINAL);
  EXPECT_THAT(recipe.steps(0).targets(), testing::ElementsAre("Linear", "a.b"));
}

TEST(ApplySet, AppendsOnePastTheEnd) {
  const v1::Recipe recipe = Applied({"calibration.sources[0].text.uri=s3://b/train.jsonl?region=x: #1",
                                     "steps[0].ignore[0]=lm_head", "steps[0].ignore[1]=a", "steps[0].ignore[0]=b",
                                     "steps[1]={rtn: {bits: 8}}", "steps[1].rtn.group_size=32"});
  EXPECT_EQ(recipe.calibration().sources(0).text().uri(), "s3://b/train.jsonl?region=x: #1");
  EXPECT_THAT(recipe.steps(0).ignore(), testing::ElementsAre("b", "a"));
  EXPECT_EQ(recipe.steps(1).rtn().bits(), 8);
  EXPECT_EQ(recipe.steps(1).rtn().group_size(), 32);
}

TEST(ApplySet, TextIsTakenAsItIsUnlessQuoted) {
  EXPECT_EQ(Applied({"evaluation.reference=a=b # c"}).evaluation().reference(), "a=b # c");
  EXPECT_EQ(Applied({"evaluation.reference=' x '"}).evaluation().reference(), " x ");
  EXPECT_EQ(Applied({"evaluation.reference=12"}).evaluation().reference(), "12");
}

TEST(ApplySet, EmptyClears) {
  EXPECT_FALSE(Applied({"steps[0].gptq.bits="}).steps(0).gptq().has_bits());
  EXPECT_EQ(Applied({"steps="}).steps_size(), 0);
  EXPECT_FALSE(Applied({"calibration.samples=3", "calibration="}).has_calibration());
}

TEST(ApplySet, ReplacesAMethodOnlyAsAWhole) {
  EXPECT_THAT(ErrorOf("steps[0].rtn.bits=8"), HasSubstr("'gptq' is set here"));
  const v1::Recipe recipe = Applied({"steps[0].rtn={bits: 8}"});
  EXPECT_TRUE(recipe.steps(0).has_rtn());
  EXPECT_EQ(recipe.steps(0).rtn().bits(), 8);
}

TEST(ApplySet, SaysWhatIsWrong) {
  EXPECT_THAT(ErrorOf("steps[0].gptq.bits"), HasSubstr("no '='"));
  EXPECT_THAT(ErrorOf("steps[0].gptq.bit=4"), HasSubstr("did you mean 'bits'?"));
  EXPECT_THAT(ErrorOf("steps.gptq.bits=4"), HasSubstr("say which: steps[0]"));
  EXPECT_THAT(ErrorOf("steps[2].gptq.bits=4"), HasSubstr("has 1 entries; the next one is [1]"));
  EXPECT_THAT(ErrorOf("output[0].format=x"), HasSubstr("not a list"));
  EXPECT_THAT(ErrorOf("steps[0].gptq.bits.x=4"), HasSubstr("no fields of its own"));
  EXPECT_THAT(ErrorOf("steps[0].gptq.bits=four"), HasSubstr("expected a whole number, found 'four'"));
  EXPECT_THAT(ErrorOf("steps[0].gptq.bits=[4]"), HasSubstr("found a list"));
  EXPECT_THAT(ErrorOf("steps[0].gptq={bits: x}"), HasSubstr("expected a whole number"));
  for (const char* path : {"=1", "steps[=1", "steps[0=1", "steps[-1]=1", "steps[x]=1", "steps[]=1", "a..b=1", ".a=1",
                           "steps[99999999999]=1", "steps[0]]=1"}) {
    EXPECT_THAT(ErrorOf(path), HasSubstr("not a path")) << path;
  }
}

}  // namespace
}  // namespace calipress::recipe
