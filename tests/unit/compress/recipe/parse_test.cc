#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <set>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/recipe/field_reader.h"
#include "compress/recipe/recipe.h"
#include "google/protobuf/descriptor.h"

namespace calipress::recipe {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string ErrorOf(std::string_view yaml) {
  const auto recipe = ParseYaml(yaml);
  if (recipe.ok()) return absl::StrCat("parsed: ", recipe->ShortDebugString());
  EXPECT_EQ(ErrorReason(recipe.status()), "INVALID_RECIPE");
  EXPECT_EQ(ErrorClassOf(recipe.status()), ErrorClass::kUser);
  return std::string(recipe.status().message());
}

TEST(ParseYaml, ReadsEveryKindOfField) {
  const auto recipe = ParseYaml(R"(
calibration:
  sources:
    - text: {uri: train.jsonl, field: 123, layout: window}
  samples: 64
  seed: 18446744073709551615
steps:
  - gptq: {bits: 4, group_size: -1, symmetric: false, damping: 5e-2, on_numeric_failure: fail}
    targets: [Linear]
    ignore:
      - lm_head
      - "re:.*down_proj"
  - rtn:
output: {max_shard_bytes: 5e9}
evaluation:
  perplexity: [{name: yes, uri: 's3://b/t.txt?x=#1', max_windows: 1_000}]
propagation: original
)");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->calibration().sources(0).text().field(), "123");  // a text field: the digits as they are
  EXPECT_EQ(recipe->calibration().sources(0).text().layout(), v1::TEXT_LAYOUT_WINDOW);
  EXPECT_EQ(recipe->calibration().samples(), 64);
  EXPECT_EQ(recipe->calibration().seed(), 18446744073709551615u);
  const v1::Gptq& gptq = recipe->steps(0).gptq();
  EXPECT_EQ(gptq.group_size(), -1);
  EXPECT_TRUE(gptq.has_symmetric());
  EXPECT_FALSE(gptq.symmetric());
  EXPECT_FALSE(gptq.has_act_order());
  EXPECT_DOUBLE_EQ(gptq.damping(), 0.05);
  EXPECT_EQ(gptq.on_numeric_failure(), v1::ON_NUMERIC_FAILURE_FAIL);
  EXPECT_EQ(recipe->steps(0).ignore(1), "re:.*down_proj");
  EXPECT_TRUE(recipe->steps(1).has_rtn());  // a method without options is that method
  EXPECT_EQ(recipe->output().max_shard_bytes(), 5'000'000'000);
  EXPECT_EQ(recipe->evaluation().perplexity(0).name(), "yes");
  EXPECT_EQ(recipe->evaluation().perplexity(0).uri(), "s3://b/t.txt?x=#1");
  EXPECT_EQ(recipe->evaluation().perplexity(0).max_windows(), 1000);
  EXPECT_EQ(recipe->propagation(), v1::PROPAGATION_ORIGINAL);
}

TEST(ParseYaml, TakesFullAndUpperCaseEnumNames) {
  EXPECT_EQ(ParseYaml("propagation: PROPAGATION_ORIGINAL")->propagation(), v1::PROPAGATION_ORIGINAL);
  EXPECT_EQ(ParseYaml("propagation: Compressed")->propagation(), v1::PROPAGATION_COMPRESSED);
}

TEST(ParseYaml, NamesTheNearestFieldAndTheLine) {
  EXPECT_THAT(ErrorOf("steps:\n  - gptq:\n      groupsize: 64\n"),
              AllOf(HasSubstr("recipe.steps[0].gptq"), HasSubstr("line 3"), HasSubstr("unknown field 'groupsize'"),
                    HasSubstr("did you mean 'group_size'?")));
  EXPECT_THAT(ErrorOf("steps:\n- gptq: {groupSize: 64}"), HasSubstr("did you mean 'group_size'?"));
  EXPECT_THAT(ErrorOf("step: []"), HasSubstr("did you mean 'steps'?"));
  EXPECT_THAT(ErrorOf("colour: red"), HasSubstr("the fields here are calibration, steps, output"));
}

TEST(ParseYaml, ReportsEveryViolationAtOnce) {
  const auto recipe = ParseYaml(R"(calibration: {samples: many}
steps:
  - gptq: {bits: 4.5, symmetric: yes, damping: .nan}
    rtn: {}
  - rtn: {bits: 9999999999}
output: compressed-tensors
evaluation: {perplexity: {name: a}}
propagation: sideways
)");
  ASSERT_FALSE(recipe.ok());
  std::vector<std::string> all;
  for (const FieldViolation& v : Violations(recipe.status())) all.push_back(v.field + " | " + v.description);
  EXPECT_THAT(
      all, testing::ElementsAre(
               "recipe.calibration.samples | line 1: expected a whole number, found 'many'",
               "recipe.steps[0].gptq.bits | line 3: expected a whole number, found '4.5'",
               "recipe.steps[0].gptq.symmetric | line 3: expected true or false, found 'yes'",
               "recipe.steps[0].gptq.damping | line 3: expected a number, found '.nan'",
               "recipe.steps[0] | line 4: 'gptq' and 'rtn' exclude each other; keep one",
               "recipe.steps[1].rtn.bits | line 5: expected a whole number, found '9999999999'",
               "recipe.output | line 6: expected fields ('name: value'), found a single value",
               "recipe.evaluation.perplexity | line 7: expected a list ('[...]', or lines that begin with '- '), found "
               "fields ('name: value')",
               "recipe.propagation | line 8: expected compressed or original, found 'sideways'"));
}

TEST(ParseYaml, RefusesWhatIsNotARecipe) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("empty"));
  EXPECT_THAT(ErrorOf("# only a comment\n"), HasSubstr("empty"));
  EXPECT_THAT(ErrorOf("- gptq"), HasSubstr("expected fields"));
  EXPECT_THAT(ErrorOf("steps: [\n{gptq: }"), HasSubstr("line 2"));
  EXPECT_THAT(ErrorOf("a: 1\n\tb: 2"), HasSubstr("line"));
  EXPECT_THAT(ErrorOf("steps: []\nsteps: []"), AllOf(HasSubstr("line 2"), HasSubstr("given twice")));
  EXPECT_THAT(ErrorOf("steps: []\n---\nsteps: []"), HasSubstr("several YAML documents"));
  EXPECT_THAT(ErrorOf("? [a, b]\n: 1"), HasSubstr("a key must be a plain name"));
  EXPECT_THAT(ErrorOf("steps: !!python/object:os.system [ls]"), HasSubstr("recipe"));
  EXPECT_THAT(ErrorOf("steps: !mine []"), HasSubstr("tag '!mine'"));
  EXPECT_THAT(ErrorOf("steps: [null]"), HasSubstr("found nothing"));
  EXPECT_THAT(ErrorOf("propagation: unspecified"), HasSubstr("expected compressed or original"));
  EXPECT_THAT(ErrorOf("output: {format: \"\xff\"}"), HasSubstr("not UTF-8"));
  EXPECT_THAT(ErrorOf(std::string("\0\0\0", 3)), HasSubstr("recipe"));
}

TEST(ParseYaml, StopsBombsEarly) {
  // A billion laughs: each line ten times the one before.
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 10; ++i) {
    absl::StrAppend(&bomb, "a", i, ": &a", i, " [");
    for (int j = 0; j < 10; ++j) absl::StrAppend(&bomb, j == 0 ? "" : ", ", "*a", i - 1);
    absl::StrAppend(&bomb, "]\n");
  }
  EXPECT_THAT(ErrorOf(bomb), HasSubstr("no anchors"));
  EXPECT_THAT(ErrorOf("steps: &a [*a]"), HasSubstr("no anchors"));
  EXPECT_THAT(ErrorOf("steps: " + std::string(100'000, '[') + std::string(100'000, ']')), HasSubstr("deeper than 32"));
  for (const char* piece :
       {"[",   "{", "? ",   "- ",    "a: ", "{a: ", "[a, ", "&a ", "*a ",   "!!a ", "\"",           "'",
        "|\n", "#", "%a\n", "---\n", ",",   ":",    "\t",   "\n",  "\r\n ", "<<: ", "\xef\xbb\xbf", "\\"}) {
    std::string text;
    while (text.size() < 200'000) text += piece;
    const auto start = std::chrono::steady_clock::now();
    EXPECT_FALSE(ParseYaml(text).ok()) << piece;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2)) << piece;
  }
  std::string nested;
  for (int i = 0; i < 200; ++i) absl::StrAppend(&nested, std::string(i, ' '), "a:\n");
  EXPECT_THAT(ErrorOf(nested), HasSubstr("deeper than 32"));
  EXPECT_THAT(ErrorOf("steps: [" + std::string(60'000, ',') + "]"), HasSubstr("line 1"));
  std::string many = "steps: [";
  for (int i = 0; i < 30'000; ++i) many += "{},";
  EXPECT_THAT(ErrorOf(many + "]"), HasSubstr("more than 20000 values"));
  EXPECT_THAT(ErrorOf(std::string(300'000, ' ')), HasSubstr("300000 bytes"));
}

// The reader's one gap: a field of a type it cannot set. And enums must follow the naming that short names rest on.
TEST(FieldReader, KnowsEveryTypeThatRecipesUse) {
  using google::protobuf::Descriptor;
  using google::protobuf::FieldDescriptor;
  std::set<const Descriptor*> seen;
  int enums = 0;
  const std::function<void(const Descriptor*)> visit = [&](const Descriptor* message) {
    if (!seen.insert(message).second) return;
    for (int i = 0; i < message->field_count(); ++i) {
      const FieldDescriptor* field = message->field(i);
      EXPECT_FALSE(field->is_map()) << field->full_name();
      switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_MESSAGE:
          visit(field->message_type());
          break;
        case FieldDescriptor::CPPTYPE_ENUM:
          ++enums;
          for (int j = 1; j < field->enum_type()->value_count(); ++j) {
            const auto* value = field->enum_type()->value(j);
            EXPECT_EQ(FindEnumValue(field->enum_type(), value->name()), value);
            const std::string zero = field->enum_type()->value(0)->name();
            const std::string prefix = zero.substr(0, zero.size() - std::string("UNSPECIFIED").size());
            EXPECT_EQ(FindEnumValue(field->enum_type(), value->name().substr(prefix.size())), value) << value->name();
          }
          break;
        case FieldDescriptor::CPPTYPE_UINT32:
        case FieldDescriptor::CPPTYPE_FLOAT:
          ADD_FAILURE() << field->full_name() << ": teach FieldReader its type";
          break;
        default:
          break;
      }
    }
  };
  visit(v1::Recipe::descriptor());
  EXPECT_GT(seen.size(), 8u);
  EXPECT_GE(enums, 3);
}

}  // namespace
}  // namespace calipress::recipe
