#include "compress/evaluate/targets.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace calipress::evaluate {
namespace {

class ScoreTargetsTest : public testing::TestWithParam<at::ScalarType> {};

TEST_P(ScoreTargetsTest, AgreesWithDoublePrecision) {
  at::manual_seed(5);
  for (const int64_t vocabulary : {1, 2, 33, 4096}) {
    const at::Tensor logits = (at::randn({7, vocabulary}) * 4.0).to(GetParam());
    at::Tensor targets = at::randint(vocabulary, {7}, at::kLong);
    targets[3] = logits[3].to(at::kFloat).argmax();
    const std::vector<TargetScore> scores = ScoreTargets(logits, targets);
    ASSERT_EQ(scores.size(), 7u);
    for (int64_t i = 0; i < 7; ++i) {
      const at::Tensor row = logits[i].to(at::kDouble);
      const int64_t target = targets[i].item<int64_t>();
      EXPECT_NEAR(scores[i].negative_log_likelihood, (row.logsumexp(0) - row[target]).item<double>(),
                  2e-6 * (1 + std::abs(row[target].item<double>())));
      EXPECT_EQ(scores[i].likeliest, row[target].item<double>() == row.max().item<double>()) << i;
    }
    EXPECT_TRUE(scores[3].likeliest);
  }
}

TEST_P(ScoreTargetsTest, RowsThatAreAViewAndNoRows) {
  const at::Tensor wide = at::randn({4, 3, 50}).to(GetParam());
  const at::Tensor targets = at::randint(50, {4}, at::kLong);
  const auto view = ScoreTargets(wide.select(1, 1), targets);
  const auto copy = ScoreTargets(wide.select(1, 1).contiguous(), targets);
  for (size_t i = 0; i < view.size(); ++i) {
    EXPECT_EQ(view[i].negative_log_likelihood, copy[i].negative_log_likelihood);
  }
  EXPECT_TRUE(ScoreTargets(at::empty({0, 50}, GetParam()), at::empty({0}, at::kLong)).empty());
  EXPECT_THROW(ScoreTargets(wide.select(1, 1), targets + 50), c10::Error);
}

// Half takes the plain operations, as other devices do.
INSTANTIATE_TEST_SUITE_P(Dtypes, ScoreTargetsTest, testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

}  // namespace
}  // namespace calipress::evaluate
