#include "compress/recipe/study.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kStudy[] = R"(
calibration: {samples: 4, mixing: {weights: [{domain: law, weight: 1}, {domain: web, weight: 3}]}}
study:
  methods: [{name: gptq, steps: [{gptq: {}}]}, {name: wanda, steps: [{wanda: {}}]}]
  sources: [{name: both, sources: [{domain: law, text: {uri: a.txt}}, {domain: web, text: {uri: b.txt}}]}]
  draws: 2
  sweep: {domain: law, weights: [0, 0.5]}
evaluation: {perplexity: [{name: t, uri: t.txt}]}
)";

v1::Recipe Parsed(const std::string& yaml) {
  const auto recipe = ParseYaml(yaml);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? *recipe : v1::Recipe();
}

std::vector<std::string> Found(const v1::Recipe& recipe) {
  std::vector<std::string> found;
  for (const FieldViolation& violation : Validate(recipe, true, "recipe")) {
    found.push_back(absl::StrCat(violation.field, ": ", violation.description));
  }
  return found;
}

TEST(StudyRuns, AreAllOfThemInOrder) {
  EXPECT_THAT(Found(Parsed(kStudy)), IsEmpty());
  arch::ArchSpec spec;
  spec.max_positions = 512;
  const v1::Recipe resolved = Resolve(Parsed(kStudy), spec);
  const auto runs = StudyRuns(resolved);
  ASSERT_EQ(static_cast<int64_t>(runs.size()), CountStudyRuns(resolved));
  ASSERT_EQ(runs.size(), 9u);
  EXPECT_EQ(runs[0].name, "gptq/both/0/0");
  EXPECT_EQ(runs[3].name, "wanda/both/0/0.5");
  EXPECT_EQ(runs[4].name, "gptq/both/1/0");
  EXPECT_TRUE(runs[8].repeat);
  EXPECT_EQ(runs[8].name, "gptq/both/0/0/repeat");
  for (size_t i = 0; i < runs.size(); ++i) EXPECT_EQ(runs[i].index, static_cast<int>(i));
  // Rounding takes no calibration data: it is not the run to do twice.
  v1::Recipe rounding = resolved;
  v1::Step rtn;
  rtn.mutable_rtn();
  rounding.mutable_study()->mutable_methods(0)->clear_steps();
  *rounding.mutable_study()->mutable_methods(0)->add_steps() = rtn;
  EXPECT_EQ(StudyRuns(rounding).back().name, "wanda/both/0/0/repeat");
  // Weights that differ, however little, are runs of different names.
  v1::Recipe close = resolved;
  close.mutable_study()->mutable_sweep()->set_weights(0, 0.3333333);
  close.mutable_study()->mutable_sweep()->set_weights(1, 0.33333331);
  EXPECT_NE(StudyRuns(close)[0].name, StudyRuns(close)[1].name);
  // Recipes like any other: whole, and one draw of two.
  EXPECT_FALSE(runs[4].recipe.has_study());
  EXPECT_EQ(runs[4].recipe.calibration().draw().index(), 1);
  EXPECT_EQ(runs[4].recipe.calibration().draw().of(), 2);
  EXPECT_EQ(runs[4].recipe.calibration().sequence_length(), 512);
  EXPECT_EQ(runs[4].recipe.output().format(), "compressed-tensors");
  EXPECT_THAT(Found(runs[4].recipe), IsEmpty());
  const auto& weights = runs[3].recipe.calibration().mixing().weights();
  EXPECT_DOUBLE_EQ(weights[0].weight(), 0.5);
  EXPECT_DOUBLE_EQ(weights[1].weight(), 0.5);
}

TEST(StudyChecks, MixingIsOfEverySource) {
  v1::Recipe recipe = Parsed(kStudy);
  auto* second = recipe.mutable_study()->add_sources();
  second->set_name("second");
  second->add_sources()->mutable_text()->set_uri("c.txt");
  EXPECT_THAT(Found(recipe), Contains(HasSubstr("calibration.mixing.weights: has none for the domain 'general'")));
}

TEST(StudyChecks, ASweepHasSomethingToShareWith) {
  v1::Recipe recipe = Parsed(kStudy);
  recipe.mutable_calibration()->mutable_mixing()->mutable_weights(1)->set_weight(0);
  EXPECT_THAT(Found(recipe), Contains(HasSubstr("study.sweep.domain: has no other domain")));
}

TEST(StudyChecks, CountsThatWouldOverflow) {
  v1::Recipe recipe = Parsed(kStudy);
  recipe.mutable_study()->set_draws(2147483647);
  EXPECT_THAT(Found(recipe),
              Contains(HasSubstr("recipe.study: has more than 2000 methods, sources, draws or weights")));
  recipe.mutable_study()->set_draws(1000);
  EXPECT_THAT(Found(recipe), Contains(HasSubstr("recipe.study: has 4001 runs; at most 2000")));
}

TEST(StudyChecks, TheBoundOfIdsIsOfEverySource) {
  v1::Recipe recipe = Parsed(kStudy);
  recipe.mutable_calibration()->set_sequence_length(2048);
  recipe.mutable_study()->mutable_sources(0)->mutable_sources(0)->set_samples(2147483647);
  EXPECT_THAT(Found(recipe), Contains(HasSubstr("recipe.calibration.samples: samples times sequence_length is above")));
}

TEST(StudyKeep, IsATextOrAList) {
  const std::string study = kStudy;
  const std::string before = "  draws: 2\n";
  const auto with = [&](const std::string& keep) {
    return std::string(study).insert(study.find(before), "  keep: " + keep + "\n");
  };
  EXPECT_THAT(Parsed(with("best")).study().keep(), ElementsAre("best"));
  EXPECT_THAT(Parsed(with("[best, gptq/both/0/0]")).study().keep(), ElementsAre("best", "gptq/both/0/0"));
  EXPECT_THAT(Parsed(with("")).study().keep(), IsEmpty());
  arch::ArchSpec spec;
  spec.max_positions = 512;
  EXPECT_THAT(Resolve(Parsed(with("[]")), spec).study().keep(), ElementsAre("none"));
  v1::Recipe recipe = Parsed(study);
  ASSERT_TRUE(ApplySet("study.keep=best-of-each-method", &recipe).ok());
  EXPECT_THAT(recipe.study().keep(), ElementsAre("best-of-each-method"));
}

TEST(StudyKeep, ContradictionsAreRefused) {
  const auto found = [](std::vector<std::string> keep) {
    v1::Recipe recipe = Parsed(kStudy);
    for (const std::string& entry : keep) recipe.mutable_study()->add_keep(entry);
    return Found(recipe);
  };
  EXPECT_THAT(found({"none"}), IsEmpty());
  EXPECT_THAT(found({"best", "best-of-each-method", "gptq/both/0/0", "wanda/both/1/0.5"}), IsEmpty());
  EXPECT_THAT(found({"best", "none"}), ElementsAre(HasSubstr("recipe.study.keep[1]: 'none' stands alone")));
  EXPECT_THAT(found({"best", "best"}), ElementsAre("recipe.study.keep[1]: 'best' is given twice"));
  EXPECT_THAT(found({"gptq/both/2/0"}),
              ElementsAre("recipe.study.keep[0]: 'gptq/both/2/0' is no run of this study; give none, best, "
                          "best-of-each-method, or a name like 'gptq/both/0/0'"));
  EXPECT_THAT(found({"best", "gptq/both/0/0/repeat", ""}), SizeIs(2));
}

TEST(StudyKeep, FoldersTellRunsApart) {
  v1::Recipe recipe = Parsed(kStudy);
  recipe.mutable_study()->mutable_methods(0)->set_name("a-b");
  recipe.mutable_study()->mutable_methods(1)->set_name("a");
  *recipe.mutable_study()->add_sources() = recipe.study().sources(0);
  recipe.mutable_study()->mutable_sources(0)->set_name("c");
  recipe.mutable_study()->mutable_sources(1)->set_name("b-c");
  recipe.mutable_study()->add_keep("best");
  EXPECT_THAT(Found(recipe), IsEmpty());
  recipe.mutable_study()->add_keep("a/c/0/0");
  EXPECT_THAT(
      Found(recipe),
      ElementsAre(HasSubstr("recipe.study.keep: runs 'a-b/c/0/0' and 'a/b-c/0/0' would be kept in one folder")));
  EXPECT_EQ(RunFolder("gptq/both/0/0.5"), "runs/gptq-both-0-0.5");
  EXPECT_EQ(CalibrationSetFile("both", 3), "calibration/both-3.npy");
}

TEST(StudyKeep, CountsAtMost) {
  v1::Study study = Parsed(kStudy).study();
  const auto most = [&](std::vector<std::string> keep) {
    study.mutable_keep()->Assign(keep.begin(), keep.end());
    return MostKept(study);
  };
  EXPECT_EQ(most({}), 0);
  EXPECT_EQ(most({"none"}), 0);
  EXPECT_EQ(most({"best"}), 1);
  EXPECT_EQ(most({"best", "best-of-each-method"}), 2);
  EXPECT_EQ(most({"gptq/both/0/0", "best"}), 2);
}

}  // namespace
}  // namespace calipress::recipe
