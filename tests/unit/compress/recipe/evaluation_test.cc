// Texts and tasks of a recipe's evaluation: what is refused, and what is filled in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::vector<std::string> Found(std::string_view yaml) {
  const auto recipe = ParseYaml(yaml);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  std::vector<std::string> all;
  for (const FieldViolation& v : Validate(*recipe, /*has_output=*/false, "recipe")) {
    all.push_back(v.field + ": " + v.description);
  }
  return all;
}

TEST(EvaluationCheck, TasksAloneAreAJob) {
  EXPECT_THAT(Found("evaluation: {multiple_choice: [{name: q, uri: q.jsonl, delimiter: '', max_examples: 10}]}"),
              IsEmpty());
  EXPECT_THAT(Found("evaluation: {last_word: [{name: w, uri: w.txt, domain: novels}, {name: v, uri: w.jsonl}]}"),
              IsEmpty());
}

TEST(EvaluationCheck, NamesAreUniqueOverAllKinds) {
  EXPECT_THAT(Found("evaluation: {perplexity: [{name: a, uri: a.txt}], multiple_choice: [{name: a, uri: a.jsonl}], "
                    "last_word: [{name: b, uri: a.txt}, {name: b, uri: a.txt}]}"),
              ElementsAre(StartsWith("recipe.evaluation.multiple_choice[0].name: 'a' is used twice"),
                          StartsWith("recipe.evaluation.last_word[1].name: 'b' is used twice")));
}

TEST(EvaluationCheck, RefusesWithPaths) {
  const std::string label(129, 'x');
  EXPECT_THAT(Found(absl::StrCat("evaluation: {perplexity: [{name: a, uri: a.txt, domain: ", label,
                                 "}], multiple_choice: [{uri: a.txt, max_examples: -1, domain: ", label,
                                 ", delimiter: ", std::string(1025, 'y'),
                                 "}], last_word: [{name: w, uri: w.npy, max_examples: -1}, {name: v}]}")),
              ElementsAre(StartsWith("recipe.evaluation.perplexity[0].domain: has more than 128"),
                          StartsWith("recipe.evaluation.multiple_choice[0].name: is required"),
                          StartsWith("recipe.evaluation.multiple_choice[0].domain: has more than 128"),
                          StartsWith("recipe.evaluation.multiple_choice[0].uri: must name a .jsonl"),
                          StartsWith("recipe.evaluation.multiple_choice[0].delimiter: has more than 1024"),
                          StartsWith("recipe.evaluation.multiple_choice[0].max_examples: must be 0"),
                          StartsWith("recipe.evaluation.last_word[0].uri: must name a file that ends with .txt"),
                          StartsWith("recipe.evaluation.last_word[0].max_examples: must be 0"),
                          StartsWith("recipe.evaluation.last_word[1].uri: is required")));
}

TEST(EvaluationCheck, AtMost64OfAKind) {
  v1::Recipe recipe;
  for (int i = 0; i < 65; ++i) {
    auto* task = recipe.mutable_evaluation()->add_multiple_choice();
    task->set_name(absl::StrCat("q", i));
    task->set_uri("q.jsonl");
  }
  const auto found = Validate(recipe, /*has_output=*/false, "recipe");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].field, "recipe.evaluation.multiple_choice");
}

TEST(EvaluationResolve, FillsInEveryDefault) {
  const auto recipe = ParseYaml(
      "evaluation: {perplexity: [{name: a, uri: a.txt}], multiple_choice: [{name: q, uri: q.jsonl}, {name: r, uri: "
      "r.jsonl, delimiter: '', context_field: query, domain: biomed}], last_word: [{name: w, uri: w.jsonl}]}");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  arch::ArchSpec spec;
  spec.max_positions = 256;
  const v1::Evaluation resolved = Resolve(*recipe, spec).evaluation();
  EXPECT_TRUE(resolved.divergence());
  EXPECT_EQ(resolved.perplexity(0).domain(), "general");
  EXPECT_EQ(resolved.perplexity(0).sequence_length(), 256);
  EXPECT_EQ(resolved.multiple_choice(0).context_field(), "context");
  EXPECT_EQ(resolved.multiple_choice(0).choices_field(), "choices");
  EXPECT_EQ(resolved.multiple_choice(0).answer_field(), "answer");
  EXPECT_EQ(resolved.multiple_choice(0).delimiter(), " ");
  EXPECT_EQ(resolved.multiple_choice(0).domain(), "general");
  EXPECT_TRUE(resolved.multiple_choice(1).has_delimiter());
  EXPECT_EQ(resolved.multiple_choice(1).delimiter(), "");
  EXPECT_EQ(resolved.multiple_choice(1).context_field(), "query");
  EXPECT_EQ(resolved.multiple_choice(1).domain(), "biomed");
  EXPECT_EQ(resolved.last_word(0).field(), "text");
  EXPECT_EQ(resolved.last_word(0).domain(), "general");
}

}  // namespace
}  // namespace calipress::recipe
