// Sources that the model writes: bounds, defaults, and what shows against the model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::Recipe Parse(const std::string& source, const std::string& more = "") {
  auto recipe = ParseYaml("calibration: {sources: [{" + source + "}]" + more + "}\nsteps: [{gptq: {}}]\n");
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? *recipe : v1::Recipe();
}

arch::ArchSpec Model(int64_t positions = 256) {
  arch::ArchSpec spec;
  spec.family = spec.model_type = "llama";
  spec.hidden = 256;
  spec.intermediate = 768;
  spec.blocks = 1;
  spec.heads = spec.kv_heads = 8;
  spec.head_dim = 32;
  spec.vocabulary = 100;
  spec.max_positions = positions;
  return spec;
}

TEST(Generated, WhatIsOutOfBoundsIsRefusedByItsField) {
  const std::pair<const char*, const char*> cases[] = {
      {"self_generated: {initial_temperature: -0.1}", "self_generated.initial_temperature"},
      {"self_generated: {initial_temperature: 0}", "self_generated.initial_temperature"},
      {"self_generated: {final_temperature: 0}", "self_generated.final_temperature"},
      {"self_generated: {final_temperature: 101}", "self_generated.final_temperature"},
      {"self_generated: {schedule_tokens: 0}", "self_generated.schedule_tokens"},
      {"self_generated: {top_k: -1}", "self_generated.top_k"},
      {"self_generated: {top_p: 0}", "self_generated.top_p"},
      {"self_generated: {top_p: 1.01}", "self_generated.top_p"},
      {"prefix_generated: {}", "prefix_generated.prefixes.uri"},
      {"prefix_generated: {prefixes: {uri: a.npy}}", "prefix_generated.prefixes.uri"},
      {"prefix_generated: {prefixes: {uri: a.txt}, prefix_tokens: 0}", "prefix_generated.prefix_tokens"},
      {"prefix_generated: {prefixes: {uri: a.txt}, max_new_tokens: 0}", "prefix_generated.max_new_tokens"},
      {"prefix_generated: {prefixes: {uri: a.txt}, texts: 1}", "prefix_generated.texts"},
      {"prefix_generated: {prefixes: {uri: a.txt}, temperature: 0}", "prefix_generated.temperature"},
      {"prefix_generated: {prefixes: {uri: a.txt}, temperature: -1}", "prefix_generated.temperature"},
      {"prefix_generated: {prefixes: {uri: a.txt}, repetition_penalty: 0}", "prefix_generated.repetition_penalty"},
      {"prefix_generated: {prefixes: {uri: a.txt}, drop_share: 1}", "prefix_generated.drop_share"},
      {"prefix_generated: {prefixes: {uri: a.txt}, drop_share: -0.2}", "prefix_generated.drop_share"},
  };
  for (const auto& [source, field] : cases) {
    EXPECT_THAT(Validate(Parse(source), true, "recipe"),
                Contains(Field(&FieldViolation::field, std::string("recipe.calibration.sources[0].") + field)))
        << source;
  }
}

TEST(Generated, DefaultsAreThePapers) {
  const v1::Recipe self = Resolve(Parse("self_generated: {}"), Model());
  EXPECT_THAT(Validate(self, true, "recipe"), IsEmpty());
  const auto& own = self.calibration().sources(0).self_generated();
  EXPECT_EQ(own.initial_temperature(), 1.0);
  EXPECT_EQ(own.final_temperature(), 1.0);
  EXPECT_EQ(own.schedule_tokens(), 10);
  EXPECT_TRUE(own.has_top_k());
  EXPECT_EQ(own.top_p(), 1.0);
  EXPECT_EQ(own.first_tokens(), v1::FIRST_TOKENS_ANY);
  EXPECT_EQ(self.calibration().sequence_length(), 256);

  const v1::Recipe prefix = Resolve(Parse("prefix_generated: {prefixes: {uri: a.jsonl}}"), Model());
  EXPECT_THAT(Validate(prefix, true, "recipe"), IsEmpty());
  EXPECT_THAT(ValidateForModel(prefix, Model(), "recipe"), IsEmpty());
  const auto& source = prefix.calibration().sources(0).prefix_generated();
  EXPECT_EQ(source.prefixes().field(), "text");
  EXPECT_EQ(source.prefixes().layout(), v1::TEXT_LAYOUT_PACK);
  EXPECT_EQ(source.prefix_tokens(), 2);
  EXPECT_EQ(source.max_new_tokens(), 254);
  EXPECT_FALSE(source.has_texts());
  EXPECT_EQ(source.temperature(), 0.6);
  EXPECT_EQ(source.top_p(), 0.95);
  EXPECT_EQ(source.top_k(), 50);
  EXPECT_EQ(source.repetition_penalty(), 1.2);
  EXPECT_EQ(source.drop_share(), 0.2);
}

TEST(Generated, PrefixesThatLeaveNoRoomAreRefused) {
  const auto against = [](const std::string& options, const std::string& more) {
    return ValidateForModel(
        Resolve(Parse("prefix_generated: {prefixes: {uri: a.txt}, " + options + "}", more), Model()), Model(),
        "recipe");
  };
  EXPECT_THAT(against("prefix_tokens: 256", ""),
              Contains(AllOf(Field(&FieldViolation::field, HasSubstr("prefix_tokens")),
                             Field(&FieldViolation::description, HasSubstr("256 positions")))));
  EXPECT_THAT(against("prefix_tokens: 64", ", sequence_length: 64"),
              Contains(AllOf(Field(&FieldViolation::field, HasSubstr("prefix_tokens")),
                             Field(&FieldViolation::description, HasSubstr("sequence_length")))));
  EXPECT_THAT(against("max_new_tokens: 255", ""), Contains(Field(&FieldViolation::field, HasSubstr("max_new_tokens"))));
  EXPECT_THAT(against("max_new_tokens: 254", ""), IsEmpty());
}

}  // namespace
}  // namespace calipress::recipe
