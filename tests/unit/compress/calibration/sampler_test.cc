#include "compress/calibration/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "compress/base/random.h"

namespace calipress::calibration {
namespace {

constexpr double kGone = -std::numeric_limits<double>::infinity();

std::vector<float> Logits(uint64_t seed, int64_t size, bool ties = false) {
  RandomStream random(seed, 0);
  std::vector<float> logits;
  for (int64_t i = 0; i < size; ++i) {
    const double value = 8.0 * random.Uniform() - 3.0;
    logits.push_back(static_cast<float>(ties ? std::floor(value) : value));
  }
  return logits;
}

// transformers' RepetitionPenalty-, Temperature-, TopK- and TopPLogitsWarper, line by line, for one row; then the
// probabilities that multinomial draws from.
std::vector<double> Transcribed(const GenerationRequest& request, const std::vector<float>& logits,
                                const std::vector<int64_t>& text, int64_t token) {
  std::vector<double> scores(logits.begin(), logits.end());
  const int64_t size = static_cast<int64_t>(scores.size());
  for (const int64_t id : text) {
    const double score = logits[id];
    scores[id] = score < 0 ? score * request.repetition_penalty : score / request.repetition_penalty;
  }
  for (double& score : scores) score /= TemperatureOf(request, token);
  if (request.top_k > 0) {
    std::vector<double> sorted = scores;
    std::sort(sorted.rbegin(), sorted.rend());
    const double least = sorted[std::min(request.top_k, size) - 1];
    for (double& score : scores) {
      if (score < least) score = kGone;
    }
  }
  const auto softmax = [](const std::vector<double>& from) {
    const double largest = *std::max_element(from.begin(), from.end());
    std::vector<double> to;
    for (const double score : from) to.push_back(std::exp(score - largest));
    const double total = std::accumulate(to.begin(), to.end(), 0.0);
    for (double& value : to) value /= total;
    return to;
  };
  if (request.top_p < 1.0) {
    std::vector<int64_t> order(size);
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] < scores[b]; });
    const std::vector<double> probabilities = softmax(scores);
    double cumulative = 0.0;
    std::vector<int64_t> remove;
    for (int64_t i = 0; i + 1 < size; ++i) {  // min_tokens_to_keep = 1
      cumulative += probabilities[order[i]];
      if (cumulative <= 1.0 - request.top_p) remove.push_back(order[i]);
    }
    for (const int64_t id : remove) scores[id] = kGone;
  }
  return softmax(scores);
}

int64_t Pick(const GenerationRequest& request, const std::vector<float>& logits, const std::vector<int64_t>& text,
             int64_t token, double draw) {
  Sampler::Workspace workspace;
  return Sampler(request, static_cast<int64_t>(logits.size())).Pick(logits, text, token, draw, &workspace);
}

TEST(Sampler, ScheduleGoesInAStraightLine) {
  GenerationRequest request;
  request.initial_temperature = 2.0;
  request.final_temperature = 1.0;
  request.schedule_tokens = 10;
  EXPECT_EQ(TemperatureOf(request, 0), 2.0);
  EXPECT_EQ(TemperatureOf(request, 5), 1.5);
  EXPECT_EQ(TemperatureOf(request, 10), 1.0);
  EXPECT_EQ(TemperatureOf(request, 1000), 1.0);
}

TEST(Sampler, DrawsAsTransformersProcessorsLeaveIt) {
  struct Case {
    double temperature, top_p, penalty;
    int64_t top_k;
  };
  const Case cases[] = {{1.0, 1.0, 1.0, 0},  {0.6, 0.95, 1.2, 50}, {0.8, 0.95, 1.1, 50},
                        {1.5, 1.0, 1.0, 7},  {1.0, 0.3, 1.0, 0},   {0.7, 1.0, 1.3, 0},
                        {1.0, 0.01, 1.0, 0}, {0.5, 0.9, 0.8, 1},   {1.0, 0.9, 1.0, 500}};
  for (const Case& one : cases) {
    GenerationRequest request;
    request.initial_temperature = request.final_temperature = one.temperature;
    request.top_p = one.top_p;
    request.top_k = one.top_k;
    request.repetition_penalty = one.penalty;
    for (uint64_t seed = 0; seed < 6; ++seed) {
      const std::vector<float> logits = Logits(seed, 203);
      const std::vector<int64_t> text = {5, 17, 17, 100, 202, 5};
      const std::vector<double> probabilities = Transcribed(request, logits, text, 3);
      RandomStream random(seed, 1);
      for (int i = 0; i < 200; ++i) {
        const double draw = random.Uniform();
        const int64_t id = Pick(request, logits, text, 3, draw);
        ASSERT_GE(id, 0);
        ASSERT_GT(probabilities[id], 0.0) << "an id that the processors remove";
        const double before = std::accumulate(probabilities.begin(), probabilities.begin() + id, 0.0);
        EXPECT_LE(before - 1e-5, draw);
        EXPECT_GE(before + probabilities[id] + 1e-5, draw);
      }
    }
  }
}

TEST(Sampler, KeepsEqualsOfTheLastOfTopK) {
  GenerationRequest request;
  request.top_k = 1;
  std::vector<float> logits = {0.0f, 2.0f, 1.0f, 2.0f};
  EXPECT_EQ(Pick(request, logits, {}, 0, 0.1), 1);
  EXPECT_EQ(Pick(request, logits, {}, 0, 0.9), 3);
}

TEST(Sampler, TemperatureZeroTakesTheLikeliestAndOfEqualsTheLowest) {
  GenerationRequest request;
  request.initial_temperature = 0.0;
  request.final_temperature = 0.0;
  EXPECT_EQ(Pick(request, {0.5f, 3.0f, 3.0f, -1.0f}, {}, 0, 0.99), 1);
  request.repetition_penalty = 1.5;
  EXPECT_EQ(Pick(request, {0.5f, 3.0f, 2.5f, -1.0f}, {1}, 4, 0.99), 2);
  request.repetition_penalty = 1.0;
  // From zero up: the first token is the likeliest one, later ones are drawn.
  request.final_temperature = 1.0;
  request.schedule_tokens = 2;
  EXPECT_EQ(Pick(request, {0.5f, 0.6f, 0.5f, 0.5f}, {}, 0, 0.99), 1);
  EXPECT_EQ(Pick(request, {0.5f, 0.6f, 0.5f, 0.5f}, {}, 2, 0.99), 3);
}

// By whose inverse nothing can be multiplied any more.
TEST(Sampler, TinyTemperaturesTakeTheLikeliest) {
  for (const double temperature : {1e-40, 1e-9}) {
    GenerationRequest request;
    request.initial_temperature = request.final_temperature = temperature;
    EXPECT_EQ(Pick(request, {0.5f, 2.0f, -1.0f, 1.0f}, {}, 0, 0.9), 1) << temperature;
  }
}

TEST(Sampler, FirstTokensAreAmongThose) {
  GenerationRequest request;
  request.first_ids = {7, 3};
  const std::vector<float> logits = Logits(3, 50, /*ties=*/true);
  RandomStream random(1, 1);
  std::vector<int64_t> later;
  for (int i = 0; i < 100; ++i) {
    const int64_t first = Pick(request, logits, {1}, 0, random.Uniform());
    EXPECT_TRUE(first == 3 || first == 7) << first;
    later.push_back(Pick(request, logits, {1}, 1, random.Uniform()));
  }
  EXPECT_TRUE(std::any_of(later.begin(), later.end(), [](int64_t id) { return id != 3 && id != 7; }));
}

TEST(Sampler, NotANumberIsNoToken) {
  GenerationRequest request;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Pick(request, {0.0f, nan, 1.0f}, {}, 0, 0.5), -1);
  const float infinite = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Pick(request, {0.0f, infinite, 1.0f}, {}, 0, 0.5), -1);
}

TEST(Sampler, NegativeLogLikelihoodIsOfTheWholeVocabulary) {
  const std::vector<float> logits = Logits(9, 1000);
  double total = 0.0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  Sampler::Workspace workspace;
  for (const int64_t id : {0, 499, 999}) {
    EXPECT_NEAR(NegativeLogLikelihood(logits, id, &workspace), std::log(total) - logits[id], 1e-6);
  }
}

}  // namespace
}  // namespace calipress::calibration
