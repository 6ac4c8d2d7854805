#include "compress/recipe/unused_calibration.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

std::string Of(const std::string& yaml) {
  const auto recipe = ParseYaml(yaml);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? UnusedCalibration(*recipe).value_or("") : "";
}

constexpr char kSources[] =
    "calibration: {sources: [{text: {uri: \"s3://key:hidden@bucket/a.jsonl\"}}, {self_generated: {}}]}\n";

TEST(UnusedCalibration, NamesTheSourcesThatNothingReads) {
  EXPECT_EQ(Of(absl::StrCat(kSources, "steps: [{rtn: {}}]")),
            "the recipe's calibration data was not read, as no step takes statistics of it: text s3://bucket/a.jsonl, "
            "self_generated");
  EXPECT_EQ(Of(absl::StrCat(kSources, "steps: [{magnitude: {}}, {rtn: {}}]")).substr(0, 47),
            "the recipe's calibration data was not read, as ");
  EXPECT_EQ(Of(absl::StrCat(kSources, "evaluation: {perplexity: [{name: a, uri: b.txt}]}")).substr(0, 66),
            "the recipe's calibration data was not read, as nothing is compress");
}

TEST(UnusedCalibration, IsSilentWhereSomethingTakesStatistics) {
  for (const char* rest : {"steps: [{rtn: {}}, {gptq: {}}]", "steps: [{rtn: {}}]\noutput: {imatrix: true}",
                           "steps: [{magnitude: {owl: {}}}]", "steps: [{rtn: {bits: 8, activations: static}}]",
                           "study: {methods: [{name: a, steps: [{rtn: {}}]}]}"}) {
    EXPECT_EQ(Of(absl::StrCat(kSources, rest)), "") << rest;
  }
  EXPECT_EQ(Of("steps: [{rtn: {}}]"), "");
}

}  // namespace
}  // namespace calipress::recipe
