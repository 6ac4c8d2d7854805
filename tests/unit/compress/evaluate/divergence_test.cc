#include "compress/evaluate/divergence.h"

#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace calipress::evaluate {
namespace {

std::vector<double> LogProbabilities(const at::Tensor& row) {
  const at::Tensor wide = row.to(at::kDouble).contiguous();
  const double* x = wide.const_data_ptr<double>();
  const int64_t size = wide.numel();
  double largest = x[0];
  for (int64_t i = 1; i < size; ++i) largest = std::max(largest, x[i]);
  double sum = 0.0;
  for (int64_t i = 0; i < size; ++i) sum += std::exp(x[i] - largest);
  std::vector<double> result(size);
  for (int64_t i = 0; i < size; ++i) result[i] = x[i] - largest - std::log(sum);
  return result;
}

// The formulas as they stand, in double precision.
TextScore Plain(const at::Tensor& test, const at::Tensor& reference, const at::Tensor& ids) {
  TextScore score;
  for (int64_t b = 0; b < ids.size(0); ++b) {
    for (int64_t i = 0; i + 1 < ids.size(1); ++i) {
      const std::vector<double> q = LogProbabilities(test[b][i]);
      const std::vector<double> p = LogProbabilities(reference[b][i]);
      const int64_t target = ids[b][i + 1].item<int64_t>();
      score.tokens += 1;
      score.negative_log_likelihood -= q[target];
      score.reference_negative_log_likelihood -= p[target];
      for (size_t v = 0; v < p.size(); ++v) {
        const double log_m = std::log(0.5 * (std::exp(p[v]) + std::exp(q[v])));
        if (std::exp(p[v]) > 0) score.kl += std::exp(p[v]) * (p[v] - q[v]);
        if (std::exp(p[v]) > 0) score.js += 0.5 * std::exp(p[v]) * (p[v] - log_m);
        if (std::exp(q[v]) > 0) score.js += 0.5 * std::exp(q[v]) * (q[v] - log_m);
      }
      const auto first = [](const std::vector<double>& x) { return std::max_element(x.begin(), x.end()) - x.begin(); };
      score.agree += first(p) == first(q);
    }
  }
  return score;
}

void ExpectNear(const TextScore& score, const TextScore& plain, double relative) {
  EXPECT_EQ(score.tokens, plain.tokens);
  EXPECT_EQ(score.agree, plain.agree);
  const double tokens = static_cast<double>(plain.tokens);
  EXPECT_NEAR(score.negative_log_likelihood, plain.negative_log_likelihood, relative * tokens);
  EXPECT_NEAR(score.reference_negative_log_likelihood, plain.reference_negative_log_likelihood, relative * tokens);
  EXPECT_NEAR(score.kl, plain.kl, relative * tokens);
  EXPECT_NEAR(score.js, plain.js, relative * tokens);
}

class ScoreLogitsTest : public testing::TestWithParam<at::ScalarType> {};

TEST_P(ScoreLogitsTest, AgreesWithDoublePrecision) {
  at::manual_seed(11);
  for (const int64_t vocabulary : {1, 2, 33, 4096, 5001}) {
    const at::Tensor reference = (at::randn({2, 9, vocabulary}) * 4.0).to(GetParam());
    const at::Tensor test = (reference.to(at::kFloat) + at::randn({2, 9, vocabulary}) * 0.7).to(GetParam());
    const at::Tensor ids = at::randint(vocabulary, {2, 9}, at::kLong);
    TextScore score;
    ScoreLogits(test, reference, ids, &score);
    ExpectNear(score, Plain(test, reference, ids), 2e-6);
    EXPECT_NEAR(score.Perplexity(), std::exp(score.negative_log_likelihood / 16.0), 1e-9);
    EXPECT_NEAR(score.ReferencePerplexity(), std::exp(score.reference_negative_log_likelihood / 16.0), 1e-9);
  }
}

TEST_P(ScoreLogitsTest, AModelDoesNotDivergeFromItself) {
  const at::Tensor logits = (at::randn({1, 30, 1000}) * 5.0).to(GetParam());
  const at::Tensor ids = at::randint(1000, {1, 30}, at::kLong);
  TextScore score;
  ScoreLogits(logits, logits.clone(), ids, &score);
  EXPECT_LT(score.kl, 1e-5);
  EXPECT_LT(score.js, 1e-5);
  EXPECT_EQ(score.agree, 29);
}

TEST_P(ScoreLogitsTest, SmallDivergencesAreNotNoise) {
  const at::Tensor reference = (at::randn({1, 101, 4096}) * 3.0).to(GetParam());
  const at::Tensor test = (reference.to(at::kFloat) * 1.01).to(GetParam());
  const at::Tensor ids = at::randint(4096, {1, 101}, at::kLong);
  TextScore score;
  ScoreLogits(test, reference, ids, &score);
  const TextScore plain = Plain(test, reference, ids);
  EXPECT_NEAR(score.kl / plain.kl, 1.0, 0.01);
  EXPECT_NEAR(score.js / plain.js, 1.0, 0.01);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, ScoreLogitsTest,
                         testing::Values(at::kFloat, at::kBFloat16, at::kHalf));  // fp16: the path by operations

TEST(ScoreLogits, KernelGivesExactlyZeroForEqualRows) {
  const at::Tensor logits = (at::randn({1, 30, 1000}) * 5.0).to(at::kBFloat16);
  TextScore score;
  ScoreLogits(logits, logits, at::zeros({1, 30}, at::kLong), &score);
  EXPECT_EQ(score.kl, 0.0);
  EXPECT_EQ(score.js, 0.0);
}

TEST(ScoreLogits, OppositeCertaintiesReachLn2) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf}) {
    at::Tensor reference = at::zeros({1, 3, 40}, dtype);
    at::Tensor test = at::zeros({1, 3, 40}, dtype);
    reference.select(2, 3).fill_(200.0);
    test.select(2, 7).fill_(200.0);
    TextScore score;
    ScoreLogits(test, reference, at::zeros({1, 3}, at::kLong), &score);
    EXPECT_LE(score.js, 2 * std::log(2.0));
    EXPECT_NEAR(score.js, 2 * std::log(2.0), 1e-6);
    EXPECT_NEAR(score.kl, 400.0, 1e-3);
    EXPECT_EQ(score.agree, 0);
  }
}

TEST(ScoreLogits, MaskedTokensCountForNothing) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf}) {
    at::Tensor reference = at::randn({1, 4, 64}).to(dtype);
    at::Tensor test = at::randn({1, 4, 64}).to(dtype);
    reference.narrow(2, 32, 32).fill_(-std::numeric_limits<double>::infinity());
    test.narrow(2, 32, 32).fill_(-std::numeric_limits<double>::infinity());
    TextScore masked, cut;
    const at::Tensor ids = at::randint(32, {1, 4}, at::kLong);
    ScoreLogits(test, reference, ids, &masked);
    ScoreLogits(test.narrow(2, 0, 32), reference.narrow(2, 0, 32), ids, &cut);
    EXPECT_NEAR(masked.kl, cut.kl, 1e-5);
    EXPECT_NEAR(masked.js, cut.js, 1e-5);
    EXPECT_NEAR(masked.negative_log_likelihood, cut.negative_log_likelihood, 1e-5);
  }
}

TEST(ScoreLogits, WithoutAReferenceOnlyTheLikelihoodCounts) {
  const at::Tensor logits = at::randn({3, 5, 50});
  const at::Tensor ids = at::randint(50, {3, 5}, at::kLong);
  TextScore score;
  ScoreLogits(logits, at::Tensor(), ids, &score);
  ScoreLogits(logits, at::Tensor(), ids, &score);  // adds
  const TextScore plain = Plain(logits, logits, ids);
  EXPECT_EQ(score.tokens, 24);
  EXPECT_NEAR(score.negative_log_likelihood, 2 * plain.negative_log_likelihood, 1e-4);
  EXPECT_EQ(score.reference_negative_log_likelihood, 0.0);
  EXPECT_EQ(score.agree, 0);
}

TEST(ScoreLogits, ShowsNaN) {
  at::Tensor logits = at::randn({1, 4, 50});
  logits[0][1][30] = std::numeric_limits<double>::quiet_NaN();
  TextScore score;
  ScoreLogits(logits, at::randn({1, 4, 50}), at::zeros({1, 4}, at::kLong), &score);
  EXPECT_TRUE(std::isnan(score.negative_log_likelihood));
  EXPECT_TRUE(std::isnan(score.kl));
  EXPECT_TRUE(std::isnan(score.js));
}

TEST(ScoreLogits, RefusesIdsOutsideTheVocabulary) {
  TextScore score;
  EXPECT_ANY_THROW(ScoreLogits(at::randn({1, 3, 8}), at::Tensor(), at::full({1, 3}, 8, at::kLong), &score));
  EXPECT_ANY_THROW(ScoreLogits(at::randn({1, 3, 8}), at::Tensor(), at::full({1, 3}, -1, at::kLong), &score));
  EXPECT_ANY_THROW(ScoreLogits(at::randn({1, 3, 8}), at::randn({1, 3, 9}), at::zeros({1, 3}, at::kLong), &score));
}

}  // namespace
}  // namespace calipress::evaluate
