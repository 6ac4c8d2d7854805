#include "compress/recipe/recipe_yaml.h"

#include <google/protobuf/util/message_differencer.h>

#include "compress/recipe/recipe.h"
#include "gtest/gtest.h"
#include "tests/unit/server/assembly/testing_tiny_model.h"

namespace calipress::recipe {
namespace {

void ExpectRoundTrip(const v1::Recipe& recipe) {
  const std::string yaml = RecipeYaml(recipe);
  const auto parsed = ParseYaml(yaml);
  ASSERT_TRUE(parsed.ok()) << parsed.status() << "\n" << yaml;
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*parsed, recipe)) << yaml << "\n"
                                                                                   << parsed->DebugString() << "\n"
                                                                                   << recipe.DebugString();
}

TEST(RecipeYaml, IsReadBackAsItWas) {
  const auto recipe = ParseYaml(R"(
calibration:
  sources:
    - text: {uri: "/data/a: b#c.jsonl", field: "te\"xt\n", layout: window}
    - token_ids: {uri: /data/ids.npy}
  samples: 7
  sequence_length: 64
  seed: 18446744073709551615
steps:
  - targets: ["re:.*mlp\\..*_proj$"]
    ignore: [lm_head, "yes", "12", "null", "ünï", "🙂"]
    gptq: {bits: 3, group_size: -1, symmetric: false, damping: 0.007, on_numeric_failure: fail}
  - rtn: {}
output: {format: compressed-tensors, max_shard_bytes: 5000000000}
evaluation:
  perplexity: [{name: stories, uri: s3://bucket/test.txt, sequence_length: 32}]
  divergence: false
propagation: original
)");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  ExpectRoundTrip(*recipe);
}

TEST(RecipeYaml, ResolvedDefaultsAreReadBack) {
  const auto recipe = ParseYaml("steps: [{rtn: {bits: 4, group_size: 8}}]");
  ASSERT_TRUE(recipe.ok());
  arch::ArchSpec spec;
  spec.max_positions = 256;
  ExpectRoundTrip(Resolve(*recipe, spec));
}

TEST(RecipeYaml, LooksLikeARecipeFile) {
  const auto recipe = ParseYaml("steps: [{rtn: {bits: 4, group_size: 8}}]\noutput: {format: compressed-tensors}");
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(RecipeYaml(*recipe),
            "steps:\n"
            "  - rtn:\n"
            "      bits: 4\n"
            "      group_size: 8\n"
            "output:\n"
            "  format: \"compressed-tensors\"\n");
}

}  // namespace
}  // namespace calipress::recipe
