#include "compress/calibration/set_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "compress/base/random.h"
#include "tests/unit/compress/calibration/testing_oracle.h"

namespace calipress::calibration {
namespace {

using ::testing::ElementsAre;

TokenMatrix Skewed(int64_t sequences, int64_t length) {
  TokenMatrix tokens{sequences, length, {}};
  RandomStream random(3, 0);
  for (int64_t i = 0; i < sequences * length; ++i) {
    const double u = random.Uniform();
    tokens.ids.push_back(static_cast<int64_t>(u * u * u * 300));
  }
  return tokens;
}

// Plain transcriptions of the definitions.
double Diversity(const TokenMatrix& tokens) {
  double sum = 0;
  for (int n = 1; n <= 4; ++n) {
    std::set<std::vector<int64_t>> distinct;
    double total = 0;
    for (int64_t row = 0; row < tokens.sequences; ++row) {
      for (int64_t i = 0; i + n <= tokens.length; ++i) {
        const auto begin = tokens.ids.begin() + row * tokens.length + i;
        distinct.emplace(begin, begin + n);
        ++total;
      }
    }
    sum += distinct.size() / total;
  }
  return sum / 4;
}

double Repetition(const TokenMatrix& tokens) {
  double repeated = 0;
  for (int64_t row = 0; row < tokens.sequences; ++row) {
    const auto begin = tokens.ids.begin() + row * tokens.length;
    for (int64_t i = 0; i < tokens.length; ++i) repeated += std::find(begin, begin + i, begin[i]) != begin + i;
  }
  return repeated / tokens.ids.size();
}

double Zipf(const TokenMatrix& tokens) {
  std::map<int64_t, double> counts;
  for (const int64_t id : tokens.ids) ++counts[id];
  std::vector<double> frequencies;
  for (const auto& [id, count] : counts) frequencies.push_back(count);
  std::sort(frequencies.rbegin(), frequencies.rend());
  double n = frequencies.size(), sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double x = std::log(i + 1.0), y = std::log(frequencies[i]);
    sx += x, sy += y, sxx += x * x, sxy += x * y;
  }
  return -(n * sxy - sx * sy) / (n * sxx - sx * sx);
}

TEST(ReportOf, EqualsPlainTranscriptions) {
  const TokenMatrix tokens = Skewed(13, 57);
  const v1::CalibrationReport report = ReportOf(tokens, 1000);
  EXPECT_EQ(report.sequences(), 13);
  EXPECT_EQ(report.sequence_length(), 57);
  EXPECT_EQ(report.tokens(), 13 * 57);
  EXPECT_EQ(report.fingerprint(), Fingerprint(tokens));
  EXPECT_DOUBLE_EQ(report.repetition(), Repetition(tokens));
  EXPECT_DOUBLE_EQ(report.ngram_diversity(), Diversity(tokens));
  EXPECT_NEAR(report.zipf_exponent(), Zipf(tokens), 1e-9);
  EXPECT_DOUBLE_EQ(report.vocabulary_coverage(),
                   std::set<int64_t>(tokens.ids.begin(), tokens.ids.end()).size() / 1000.0);
}

TEST(ReportOf, SmallSets) {
  // 1 1 2 / 1 1 1: three of three and one of ... by hand.
  const v1::CalibrationReport report = ReportOf({2, 3, {1, 1, 2, 1, 1, 1}}, 10);
  EXPECT_DOUBLE_EQ(report.repetition(), 3.0 / 6);
  EXPECT_DOUBLE_EQ(report.vocabulary_coverage(), 0.2);
  // 2 of 6, 2 of 4 (11, 12), 2 of 2.
  EXPECT_DOUBLE_EQ(report.ngram_diversity(), (2.0 / 6 + 2.0 / 4 + 1) / 3);
  EXPECT_DOUBLE_EQ(report.zipf_exponent(), std::log(5.0) / std::log(2.0));
  const v1::CalibrationReport one = ReportOf({1, 1, {4}}, 10);
  EXPECT_EQ(one.zipf_exponent(), 0);
  EXPECT_EQ(one.repetition(), 0);
}

TEST(ScoreSet, WholeSequencesSpreadOverTheSet) {
  TokenMatrix tokens{10, 5, {}};
  for (int64_t i = 0; i < 50; ++i) tokens.ids.push_back(i / 5);
  FakeOracle oracle([](const std::vector<int64_t>& ids) { return ids[0] + 2.0; });
  v1::CalibrationReport report;
  // 12 tokens need three sequences: the middles of thirds.
  ASSERT_TRUE(ScoreSet(tokens, 12, oracle, &report).ok());
  ASSERT_EQ(oracle.asked.size(), 3u);
  EXPECT_THAT((std::vector<int64_t>{oracle.asked[0][0], oracle.asked[1][0], oracle.asked[2][0]}), ElementsAre(1, 5, 8));
  EXPECT_EQ(oracle.asked[0].size(), 5u);
  EXPECT_EQ(report.scored_tokens(), 15);
  EXPECT_NEAR(report.perplexity(), std::exp((std::log(3) + std::log(7) + std::log(10)) / 3), 1e-12);

  FakeOracle all([](const std::vector<int64_t>&) { return 2.0; });
  ASSERT_TRUE(ScoreSet(tokens, 4096, all, &report).ok());
  EXPECT_EQ(all.asked.size(), 10u);
  EXPECT_EQ(report.scored_tokens(), 50);
  v1::CalibrationReport none;
  ASSERT_TRUE(ScoreSet(tokens, 0, all, &none).ok());
  EXPECT_FALSE(none.has_perplexity());
}

}  // namespace
}  // namespace calipress::calibration
