#include "compress/engine/domain_statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>

namespace calipress::engine {
namespace {

constexpr int64_t kLength = 4, kFeatures = 6;

method::StatisticsNeeds All() {
  return {.second_moment = true, .absolute_sum = true, .absolute_max = true, .sum = true, .sequence_variance = true};
}

// Sequences 0 and 1, 2 to 6: two domains.
MixingPlan Plan(double first_weight, bool normalize = false) {
  return {.spans = {{2, 0}, {5, 1}}, .weights = {first_weight, 1.0 - first_weight}, .normalize_trace = normalize};
}

at::Tensor Activations() {
  at::Tensor x = at::randn({7, kLength, kFeatures});
  x.narrow(0, 0, 2).mul_(3.0);
  return x;
}

// The set in micro-batches of `rows`, which do not follow the domains' borders.
method::InputStatistics Gather(const at::Tensor& x, const MixingPlan& plan, int64_t rows) {
  DomainStatistics statistics(kFeatures, All(), plan, {x.size(0) * kLength, kLength, 0}, at::kCPU);
  for (int64_t first = 0; first < x.size(0); first += rows) {
    statistics.Add(x.narrow(0, first, std::min(rows, x.size(0) - first)));
  }
  return Mix(statistics.Take(), plan);
}

at::Tensor MeanMoment(const at::Tensor& x) {
  const at::Tensor rows = x.reshape({-1, kFeatures});
  return rows.t().mm(rows).div(static_cast<double>(rows.size(0)));
}

TEST(Mixing, IsTheWeightedSumOfEachDomainsMean) {
  at::Tensor x = Activations();
  for (const double weight : {0.0, 0.3, 1.0}) {
    const at::Tensor first = MeanMoment(x.narrow(0, 0, 2)), second = MeanMoment(x.narrow(0, 2, 5));
    const at::Tensor expected = (weight * first + (1.0 - weight) * second) * (7.0 * kLength);
    for (const int64_t rows : {1, 3, 7}) {
      const auto mixed = Gather(x, Plan(weight), rows);
      EXPECT_TRUE(at::allclose(mixed.second_moment, expected, 1e-4, 1e-4)) << weight;
      EXPECT_TRUE(at::allclose(mixed.square_sum, expected.diagonal(), 1e-4, 1e-4)) << weight;
      EXPECT_EQ(mixed.tokens, 7 * kLength);
      EXPECT_EQ(mixed.sequences, 7);
    }
  }
}

// Weights as the token counts are (methods.md 3, the identity): the statistics of the two sets as one.
TEST(Mixing, OfTheTokensOwnSharesIsConcatenation) {
  const at::Tensor x = Activations();
  const auto mixed = Gather(x, Plan(2.0 / 7.0), 3);
  const auto plain = Gather(x, MixingPlan(), 3);
  EXPECT_TRUE(at::allclose(mixed.second_moment, plain.second_moment, 1e-5, 1e-4));
  EXPECT_TRUE(at::allclose(mixed.absolute_sum, plain.absolute_sum, 1e-5, 1e-4));
  EXPECT_TRUE(at::allclose(mixed.sum, plain.sum, 1e-5, 1e-4));
  EXPECT_TRUE(at::allclose(mixed.variance_sum, plain.variance_sum, 1e-5, 1e-4));
  EXPECT_TRUE(mixed.absolute_max.equal(plain.absolute_max));
}

TEST(Mixing, ADomainWithoutWeightIsNotThere) {
  const at::Tensor x = Activations();
  const auto mixed = Gather(x, Plan(0.0), 2);
  EXPECT_TRUE(mixed.absolute_max.equal(std::get<0>(x.narrow(0, 2, 5).reshape({-1, kFeatures}).abs().max(0))));
}

// The first domain's activations are three times as large; by their traces they count alike.
TEST(Mixing, NormalizedTracesDoNotDependOnTheScale) {
  const at::Tensor x = Activations();
  at::Tensor larger = x.clone();
  larger.narrow(0, 0, 2).mul_(10.0);
  const auto unit = [](const at::Tensor& moment) { return moment / moment.diagonal().mean(); };
  EXPECT_TRUE(at::allclose(unit(Gather(x, Plan(0.5, true), 3).second_moment),
                           unit(Gather(larger, Plan(0.5, true), 3).second_moment), 1e-4, 1e-4));
  EXPECT_FALSE(at::allclose(unit(Gather(x, Plan(0.5), 3).second_moment),
                            unit(Gather(larger, Plan(0.5), 3).second_moment), 1e-2, 1e-2));
}

// What is no square scales by the root: two domains that differ by a factor alone count one to one (AWQ's mean |x|,
// DSnoT's means).
TEST(Mixing, NormalizedMeansDoNotDependOnTheScale) {
  const at::Tensor one = at::randn({2, kLength, kFeatures});
  const MixingPlan plan = {.spans = {{2, 0}, {2, 1}}, .weights = {0.5, 0.5}, .normalize_trace = true};
  const auto mixed = Gather(at::cat({one, one * 10.0}), plan, 3);
  const auto alone = Gather(one, MixingPlan(), 3);
  const double tokens = static_cast<double>(mixed.tokens), own = static_cast<double>(alone.tokens);
  // Both scaled to the mean square of the two, (1 + 100) / 2 of the first's.
  const double scale = std::sqrt(50.5);
  EXPECT_TRUE(at::allclose(mixed.absolute_sum / tokens, alone.absolute_sum / own * scale, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(mixed.sum / tokens, alone.sum / own * scale, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(mixed.square_sum / tokens, alone.square_sum / own * 50.5, 1e-4, 1e-4));
  // Of domains that differ, whatever the scale of one of them is.
  const at::Tensor x = Activations();
  at::Tensor larger = x.clone();
  larger.narrow(0, 0, 2).mul_(10.0);
  const auto unit = [](const at::Tensor& sum) { return sum / sum.abs().sum(); };
  for (const auto sum : {&method::InputStatistics::absolute_sum, &method::InputStatistics::sum,
                         &method::InputStatistics::variance_sum}) {
    EXPECT_TRUE(at::allclose(unit(Gather(x, Plan(0.5, true), 3).*sum), unit(Gather(larger, Plan(0.5, true), 3).*sum),
                             1e-4, 1e-4));
  }
}

// Ranges hold what occurs in any domain that counts, whatever it weighs.
TEST(Mixing, AMaximumIsThatOfAllDomainsWithAWeight) {
  const at::Tensor x = Activations();
  const at::Tensor all = std::get<0>(x.reshape({-1, kFeatures}).abs().max(0));
  for (const double weight : {0.01, 0.5, 0.99}) {
    EXPECT_TRUE(Gather(x, Plan(weight), 3).absolute_max.equal(all)) << weight;
    EXPECT_TRUE(Gather(x, Plan(weight, true), 3).absolute_max.equal(all)) << weight;
  }
  EXPECT_TRUE(
      Gather(x, Plan(1.0), 3).absolute_max.equal(std::get<0>(x.narrow(0, 0, 2).reshape({-1, kFeatures}).abs().max(0))));
}

// A source may have given nothing: the others have all of the weight.
TEST(Mixing, ADomainWithoutTokensChangesNothing) {
  const at::Tensor x = Activations();
  for (const bool normalize : {false, true}) {
    const MixingPlan empty = {.spans = {{0, 0}, {7, 1}}, .weights = {0.5, 0.5}, .normalize_trace = normalize};
    EXPECT_TRUE(at::allclose(Gather(x, empty, 3).second_moment, Gather(x, MixingPlan(), 3).second_moment, 1e-5, 1e-4));
  }
}

TEST(Mixing, ShareOfOneRankBeginsWhereItsSequencesDo) {
  const at::Tensor x = Activations();
  const MixingPlan plan = Plan(0.4);
  DomainStatistics rest(kFeatures, All(), plan, {7 * kLength, kLength, 4}, at::kCPU);
  rest.Add(x.narrow(0, 4, 3));
  const auto domains = rest.Take();
  EXPECT_EQ(domains[0].tokens, 0);
  EXPECT_EQ(domains[1].tokens, 3 * kLength);
}

TEST(MixingPlan, NamesDomainsAcrossSources) {
  v1::Calibration calibration;
  EXPECT_FALSE(MakeMixingPlan(calibration, {}).mixes());
  for (const char* domain : {"web", "law", "web"}) calibration.add_sources()->set_domain(domain);
  auto* web = calibration.mutable_mixing()->add_weights();
  web->set_domain("web");
  web->set_weight(1.0);
  auto* law = calibration.mutable_mixing()->add_weights();
  law->set_domain("law");
  law->set_weight(3.0);
  const MixingPlan plan = MakeMixingPlan(calibration, {2, 3, 4});
  EXPECT_EQ(plan.weights, (std::vector<double>{0.25, 0.75}));
  EXPECT_EQ(plan.DomainOf(1), 0);
  EXPECT_EQ(plan.DomainOf(2), 1);
  EXPECT_EQ(plan.DomainOf(5), 0);
}

}  // namespace
}  // namespace calipress::engine
