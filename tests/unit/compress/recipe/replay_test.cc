#include "compress/recipe/replay.h"

#include <google/protobuf/util/message_differencer.h>

#include "compress/recipe/recipe.h"
#include "gtest/gtest.h"

namespace calipress::recipe {
namespace {

v1::Recipe Parsed(const std::string& yaml) {
  auto recipe = ParseYaml(yaml);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? *recipe : v1::Recipe();
}

void AddPart(v1::CalibrationReport* made, const std::string& domain, int64_t sequences) {
  v1::CalibrationPart& part = *made->add_parts();
  part.set_domain(domain);
  part.set_sequences(sequences);
}

TEST(Replay, RowsOfEachPartStandForItsSource) {
  const v1::Recipe recipe = Parsed(R"({
    calibration: {samples: 5, sequence_length: 32, seed: 7, scored_tokens: 0, draw: {index: 1, of: 3}, sources: [
      {text: {uri: a.txt}, domain: law, filter: {min_tokens: 4}}, {text: {uri: b.txt}, domain: art, weight: 0},
      {self_generated: {}, domain: web}],
      mixing: {weights: [{domain: law, weight: 0.25}, {domain: art, weight: 0}, {domain: web, weight: 0.75}],
               normalize_trace: true}},
    steps: [{wanda: {}}], propagation: original})");
  v1::CalibrationReport made;
  made.set_sequence_length(32);
  AddPart(&made, "law", 3);
  AddPart(&made, "art", 0);
  AddPart(&made, "web", 2);
  const auto replay = ReplayRecipe(recipe, made, "s3://b/out/calibration_ids.npy");
  ASSERT_TRUE(replay.has_value());
  const v1::Recipe expected = Parsed(R"({
    calibration: {sequence_length: 32, seed: 7, scored_tokens: 0, sources: [
      {token_ids: {uri: "s3://b/out/calibration_ids.npy"}, samples: 3, domain: law},
      {token_ids: {uri: "s3://b/out/calibration_ids.npy", first_row: 3}, samples: 2, domain: web}],
      mixing: {weights: [{domain: law, weight: 0.25}, {domain: web, weight: 0.75}], normalize_trace: true}},
    steps: [{wanda: {}}], propagation: original})");
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*replay, expected)) << replay->DebugString();
  EXPECT_TRUE(Validate(*replay, true, "recipe").empty());
}

TEST(Replay, AJobWithoutIdsHasNone) {
  EXPECT_FALSE(ReplayRecipe(Parsed("steps: [{rtn: {}}]"), {}, "out/calibration_ids.npy").has_value());
}

}  // namespace
}  // namespace calipress::recipe
