// DSnoT against a plain transcription of its loop in double, and what the loop guarantees.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "compress/recipe/n_of_m.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

constexpr int64_t kSequences = 4;

v1::Step DsnotStep(double sparsity = 0.5) {
  v1::Step step;
  v1::Dsnot* dsnot = step.mutable_dsnot();
  dsnot->set_sparsity(sparsity);
  dsnot->set_initial(v1::Dsnot::INITIAL_WANDA);
  dsnot->set_max_cycles(50);
  dsnot->set_threshold(0.1);
  dsnot->set_gamma(1.0);
  dsnot->set_layers(v1::Dsnot::LAYERS_ATTENTION);
  return step;
}

v1::Step PatternStep(const char* pattern) {
  v1::Step step = DsnotStep();
  step.mutable_dsnot()->clear_sparsity();
  step.mutable_dsnot()->set_pattern(pattern);
  return step;
}

// Inputs with means of both signs, so that rows have errors to correct.
InputStatistics Statistics(int64_t columns, uint64_t seed, int64_t tokens = 512) {
  const at::Tensor inputs = CorrelatedInputs(tokens, columns, seed).add(RandomNormal({columns}, seed + 7).mul(0.5));
  InputStatistics statistics = StatisticsOf(inputs);
  statistics.sum = inputs.sum(0);
  const at::Tensor sequences = inputs.view({kSequences, tokens / kSequences, columns});
  statistics.variance_sum = sequences.var(1).sum(0).mul(static_cast<double>(tokens / kSequences));
  statistics.sequences = kSequences;
  statistics.tokens = tokens;
  return statistics;
}

std::vector<double> Doubles(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kDouble).contiguous().flatten();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

// One row by the text of methods.md 7.5: every choice looks through the whole row.
std::vector<bool> ReferenceRow(const v1::Dsnot& options, const std::vector<double>& weight,
                               const std::vector<double>& initial, const std::vector<double>& norm,
                               const std::vector<double>& sum, const std::vector<double>& variance) {
  const auto pattern = recipe::ParseNOfM(options.pattern());
  const size_t n = weight.size(), run = pattern ? pattern->of : n;
  const size_t zeros = pattern ? pattern->zeros : static_cast<size_t>(static_cast<double>(n) * options.sparsity());
  std::vector<bool> pruned(n), touched(n);
  for (size_t first = 0; first < n; first += run) {
    std::vector<std::pair<double, size_t>> order;
    for (size_t j = first; j < first + run; ++j) order.emplace_back(std::abs(weight[j]) * initial[j], j);
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < zeros; ++i) pruned[order[i].second] = true;
  }
  const auto m = [&](size_t j) { return weight[j] * sum[j]; };
  double error = 0.0;
  for (size_t j = 0; j < n; ++j) error += pruned[j] ? m(j) : 0.0;
  const bool began_positive = error > 0;
  const bool same_sign = options.same_sign() || pattern;
  std::vector<bool> passed(n);
  for (int cycle = 0; cycle < options.max_cycles() && std::abs(error) > options.threshold();) {
    const double sign = error > 0 ? 1.0 : -1.0;
    int grow = -1, gone = -1;
    double best = 0.0;
    for (size_t j = 0; j < n; ++j) {
      if (!pruned[j] || touched[j] || passed[j] || sign * m(j) <= 0) continue;
      const double score = sign * m(j) / std::pow(variance[j], options.gamma());
      if (grow < 0 || score > best) grow = static_cast<int>(j), best = score;
    }
    if (grow < 0) break;
    const size_t first = pattern ? grow - grow % run : 0;
    for (size_t j = first; j < first + run; ++j) {
      if (pruned[j] || touched[j] || (!pattern && sign * m(j) >= 0)) continue;
      const double metric = std::abs(weight[j]) * norm[j];
      if (gone < 0 || metric < best) gone = static_cast<int>(j), best = metric;
    }
    if (gone < 0 && pattern) {
      passed[grow] = true;
      continue;
    }
    if (gone < 0) break;
    const double next = error + m(gone) - m(grow);
    if (same_sign && (began_positive ? next <= 0 : next >= 0)) break;
    pruned[gone] = true, pruned[grow] = false;
    touched[gone] = touched[grow] = true;
    error = next;
    ++cycle;
  }
  return pruned;
}

at::Tensor ReferenceMask(const v1::Step& step, const at::Tensor& weight, const InputStatistics& statistics) {
  const int64_t n = weight.size(1);
  at::Tensor factor = statistics.square_sum.to(at::kDouble).sqrt();
  const std::vector<double> norm = Doubles(factor);
  if (step.dsnot().initial() == v1::Dsnot::INITIAL_MAGNITUDE) factor.fill_(1.0);
  if (step.dsnot().initial() == v1::Dsnot::INITIAL_SPARSEGPT) {
    const at::Tensor moment = statistics.second_moment.to(at::kDouble);
    const at::Tensor damped = moment.div(moment.diagonal().mean()).add(at::eye(n, at::kDouble).mul(0.01));
    factor = at::linalg_inv(damped).diagonal().rsqrt();
  }
  const std::vector<double> initial = Doubles(factor), sum = Doubles(statistics.sum.to(at::kDouble).div(kSequences)),
                            variance = Doubles(statistics.variance_sum.to(at::kDouble).div(statistics.tokens));
  at::Tensor mask = at::zeros(weight.sizes(), at::kBool);
  for (int64_t row = 0; row < weight.size(0); ++row) {
    const auto pruned = ReferenceRow(step.dsnot(), Doubles(weight[row]), initial, norm, sum, variance);
    for (int64_t j = 0; j < n; ++j) mask[row][j] = static_cast<bool>(pruned[j]);
  }
  return mask;
}

LinearResult Prune(const v1::Step& step, const at::Tensor& weight, const InputStatistics& statistics,
                   const std::string& role = "q_proj", const at::Tensor& pruned = {}) {
  auto method = MakeMethod(step);
  EXPECT_TRUE(method.ok()) << method.status();
  auto results = (*method)->Compress({{"block.0." + role, weight, pruned, 0, role}}, &statistics);
  EXPECT_TRUE(results.ok()) << results.status();
  return results.ok() ? results->front() : LinearResult();
}

at::Tensor RowErrors(const at::Tensor& weight, const at::Tensor& pruned, const InputStatistics& statistics) {
  return weight.to(at::kDouble).mul(pruned).matmul(statistics.sum.to(at::kDouble)).div(kSequences);
}

TEST(Dsnot, IsTheLoopOfThePaper) {
  uint64_t seed = 100;
  for (const auto initial : {v1::Dsnot::INITIAL_WANDA, v1::Dsnot::INITIAL_MAGNITUDE, v1::Dsnot::INITIAL_SPARSEGPT}) {
    for (const char* pattern : {"", "2:4", "5:8", "3:4"}) {
      for (const bool same_sign : {false, true}) {
        for (const double gamma : {1.0, 0.0}) {
          const int64_t rows = 40, columns = 8 * (4 + static_cast<int64_t>(seed % 9));
          v1::Step step = *pattern ? PatternStep(pattern) : DsnotStep(0.6);
          step.mutable_dsnot()->set_initial(initial);
          step.mutable_dsnot()->set_same_sign(same_sign);
          step.mutable_dsnot()->set_gamma(gamma);
          step.mutable_dsnot()->set_threshold(1e-3);
          const at::Tensor weight = RandomWeight(rows, columns, at::kFloat, ++seed);
          const InputStatistics statistics = Statistics(columns, ++seed);
          const at::Tensor expected = ReferenceMask(step, weight, statistics);
          const LinearResult result = Prune(step, weight, statistics);
          // A near-tie changes one row, and all that follows in it.
          const double equal_rows = result.pruned.eq(expected).all(1).to(at::kDouble).mean().item<double>();
          EXPECT_GE(equal_rows, 0.97) << "initial " << initial << ", pattern " << pattern << ", same sign " << same_sign
                                      << ", gamma " << gamma;
          v1::Step still = step;
          still.mutable_dsnot()->set_max_cycles(0);
          EXPECT_LT(Agreement(Prune(still, weight, statistics).pruned, result.pruned), 1.0) << "nothing was swapped";
        }
      }
    }
  }
}

TEST(Dsnot, KeepsSparsityOfEveryRowAndOnlyZeroesWeights) {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor weight = RandomWeight(33, 100, dtype, 5);
    const LinearResult result = Prune(DsnotStep(0.37), weight, Statistics(100, 6));
    EXPECT_TRUE(result.pruned.sum(1).eq(37).all().item<bool>());
    EXPECT_TRUE(at::equal(result.weight, weight.masked_fill(result.pruned, 0)));
    EXPECT_EQ(result.weight.scalar_type(), dtype);
    EXPECT_EQ(result.method, "dsnot");
  }
  const at::Tensor weight = RandomWeight(33, 96, at::kFloat, 5);
  const LinearResult result = Prune(PatternStep("5:8"), weight, Statistics(96, 6));
  EXPECT_TRUE(result.pruned.view({33, 12, 8}).sum(2).eq(5).all().item<bool>());
}

TEST(Dsnot, ReducesTheExpectedErrorOfRows) {
  const at::Tensor weight = RandomWeight(64, 128, at::kFloat, 11);
  const InputStatistics statistics = Statistics(128, 12);
  v1::Step still = DsnotStep(0.6);
  still.mutable_dsnot()->set_max_cycles(0);
  const at::Tensor before = RowErrors(weight, Prune(still, weight, statistics).pruned, statistics);
  v1::Step step = DsnotStep(0.6);
  const at::Tensor after = RowErrors(weight, Prune(step, weight, statistics).pruned, statistics);
  EXPECT_LT(after.abs().mean().item<double>(), 0.7 * before.abs().mean().item<double>());
  // Every swap takes from the error, which keeps its sign: no row gets worse.
  step.mutable_dsnot()->set_same_sign(true);
  const at::Tensor same = RowErrors(weight, Prune(step, weight, statistics).pruned, statistics);
  EXPECT_TRUE(same.abs().le(before.abs().add(1e-6)).all().item<bool>());
  EXPECT_TRUE(same.mul(before).ge(0).all().item<bool>());
  // N:M keeps the sign always.
  v1::Step pattern = PatternStep("2:4"), initial = pattern;
  initial.mutable_dsnot()->set_max_cycles(0);
  const at::Tensor product = RowErrors(weight, Prune(pattern, weight, statistics).pruned, statistics)
                                 .mul(RowErrors(weight, Prune(initial, weight, statistics).pruned, statistics));
  EXPECT_TRUE(product.ge(-1e-9).all().item<bool>());
}

TEST(Dsnot, StopsWhereItsLimitsAre) {
  const at::Tensor weight = RandomWeight(48, 128, at::kFloat, 21);
  const InputStatistics statistics = Statistics(128, 22);
  v1::Step step = DsnotStep(0.6);
  step.mutable_dsnot()->set_max_cycles(0);
  const at::Tensor wanda = Prune(step, weight, statistics).pruned;
  const at::Tensor metric = weight.abs().mul(statistics.square_sum.sqrt());
  const at::Tensor smallest = std::get<1>(metric.sort(true, 1, false)).narrow(1, 0, 76);
  EXPECT_TRUE(at::equal(wanda, at::zeros({48, 128}, at::kBool).scatter(1, smallest, true)));
  step.mutable_dsnot()->set_threshold(0.0);
  for (const int cycles : {1, 3}) {
    step.mutable_dsnot()->set_max_cycles(cycles);
    const at::Tensor changed = Prune(step, weight, statistics).pruned.ne(wanda).sum(1);
    EXPECT_TRUE(changed.le(2 * cycles).all().item<bool>());
    EXPECT_EQ(changed.max().item<int64_t>(), 2 * cycles);
  }
  step.mutable_dsnot()->set_max_cycles(50);
  step.mutable_dsnot()->set_threshold(std::numeric_limits<double>::infinity());
  EXPECT_TRUE(at::equal(Prune(step, weight, statistics).pruned, wanda));
  // A row whose error is below the threshold stays, one above it does not.
  const at::Tensor errors = RowErrors(weight, wanda, statistics).abs();
  const double median = errors.median().item<double>() * 1.0001;
  step.mutable_dsnot()->set_threshold(median);
  const at::Tensor changed = Prune(step, weight, statistics).pruned.ne(wanda).any(1);
  EXPECT_TRUE(changed.logical_and(errors.lt(median * 0.999)).logical_not().all().item<bool>());
  EXPECT_TRUE(changed.any().item<bool>());
}

TEST(Dsnot, RefinesAttentionAloneUnlessToldOtherwise) {
  const at::Tensor weight = RandomWeight(32, 128, at::kFloat, 31);
  const InputStatistics statistics = Statistics(128, 32);
  v1::Step still = DsnotStep(), all = DsnotStep();
  still.mutable_dsnot()->set_max_cycles(0);
  all.mutable_dsnot()->set_layers(v1::Dsnot::LAYERS_ALL);
  const at::Tensor wanda = Prune(still, weight, statistics).pruned, refined = Prune(all, weight, statistics).pruned;
  ASSERT_FALSE(at::equal(wanda, refined));
  for (const char* role : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
    EXPECT_TRUE(at::equal(Prune(DsnotStep(), weight, statistics, role).pruned, refined)) << role;
  }
  for (const char* role : {"gate_proj", "up_proj", "down_proj"}) {
    EXPECT_TRUE(at::equal(Prune(DsnotStep(), weight, statistics, role).pruned, wanda)) << role;
    EXPECT_TRUE(at::equal(Prune(all, weight, statistics, role).pruned, refined)) << role;
  }
}

TEST(Dsnot, DoesNotDependOnThreads) {
  const at::Tensor weight = RandomWeight(101, 256, at::kBFloat16, 41);
  const InputStatistics statistics = Statistics(256, 42);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = Prune(DsnotStep(), weight, statistics).pruned;
  at::set_num_threads(3);
  const at::Tensor three = Prune(DsnotStep(), weight, statistics).pruned;
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one, three));
}

TEST(Dsnot, OddColumnsAndRows) {
  at::Tensor weight = RandomWeight(16, 64, at::kFloat, 51);
  weight.narrow(0, 0, 2).zero_();
  weight.narrow(0, 2, 2).fill_(0.03);
  InputStatistics statistics = Statistics(64, 52);
  // Dead columns: every sum is 0. Constant ones: no variance, yet a sum.
  for (const int64_t j : {3, 17, 40}) {
    for (at::Tensor* sums : {&statistics.square_sum, &statistics.sum, &statistics.variance_sum}) (*sums)[j] = 0.0;
    statistics.second_moment.select(0, j).zero_();
    statistics.second_moment.select(1, j).zero_();
  }
  statistics.variance_sum[5] = 0.0;
  for (const auto initial : {v1::Dsnot::INITIAL_WANDA, v1::Dsnot::INITIAL_MAGNITUDE, v1::Dsnot::INITIAL_SPARSEGPT}) {
    for (v1::Step step : {DsnotStep(), PatternStep("2:4")}) {
      step.mutable_dsnot()->set_initial(initial);
      const LinearResult result = Prune(step, weight, statistics);
      EXPECT_TRUE(result.pruned.sum(1).eq(32).all().item<bool>());
      EXPECT_EQ(result.dead_columns, 3);
      EXPECT_TRUE(std::isfinite(result.relative_error));
      if (initial != v1::Dsnot::INITIAL_MAGNITUDE && step.dsnot().pattern().empty()) {
        EXPECT_TRUE(result.pruned.select(1, 3).all().item<bool>()) << "a dead column is kept, initial " << initial;
      }
    }
  }
  // No live column at all: no factor, and a warning where one was asked for.
  for (at::Tensor* sums : {&statistics.square_sum, &statistics.sum, &statistics.variance_sum}) sums->zero_();
  statistics.second_moment.zero_();
  v1::Step step = DsnotStep();
  step.mutable_dsnot()->set_initial(v1::Dsnot::INITIAL_SPARSEGPT);
  const LinearResult result = Prune(step, weight, statistics);
  EXPECT_TRUE(result.pruned.sum(1).eq(32).all().item<bool>());
  EXPECT_NE(result.warning.find("not positive definite"), std::string::npos);
  EXPECT_EQ(result.relative_error, 0.0);
}

TEST(Dsnot, WhatWasPrunedStaysPruned) {
  const at::Tensor pruned = RandomNormal({24, 64}, 61).gt(0.4);
  const at::Tensor weight = RandomWeight(24, 64, at::kFloat, 62).masked_fill(pruned, 0.0);
  const LinearResult result = Prune(DsnotStep(), weight, Statistics(64, 63), "q_proj", pruned);
  EXPECT_TRUE(result.pruned.logical_or(pruned.logical_not()).all().item<bool>());
  EXPECT_TRUE(result.pruned.sum(1).eq(at::clamp(pruned.sum(1), 32)).all().item<bool>());
}

TEST(Dsnot, ErrorIsThatOfTheDiagonalOrExact) {
  const at::Tensor weight = RandomWeight(24, 64, at::kFloat, 71);
  InputStatistics statistics = Statistics(64, 72);
  const LinearResult exact = Prune(DsnotStep(), weight, statistics);
  const at::Tensor gone = weight.masked_fill(exact.pruned.logical_not(), 0.0);
  const at::Tensor moment = statistics.second_moment;
  EXPECT_NEAR(exact.relative_error, Form(gone, moment) / Form(weight, moment), 0.01 * exact.relative_error);
  const at::Tensor diagonal = statistics.square_sum.diag();
  statistics.second_moment = at::Tensor();
  const LinearResult estimate = Prune(DsnotStep(), weight, statistics);
  EXPECT_TRUE(at::equal(estimate.pruned, exact.pruned));
  EXPECT_NEAR(estimate.relative_error, Form(gone, diagonal) / Form(weight, diagonal), 1e-5);
}

TEST(Dsnot, RefusesWhatItCannotDo) {
  const InputStatistics statistics = Statistics(64, 82);
  const auto message = [&](const v1::Step& step, const at::Tensor& weight, const InputStatistics& of) {
    auto method = MakeMethod(step);
    if (!method.ok()) return std::string(method.status().message());
    return std::string((*method)->Compress({{"layer.q", weight, {}, 0, "q_proj"}}, &of).status().message());
  };
  at::Tensor weight = RandomWeight(8, 64, at::kFloat, 81);
  EXPECT_NE(message(PatternStep("2:7"), weight, statistics).find("layer.q.weight has 64 columns"), std::string::npos);
  EXPECT_NE(message(PatternStep("4:4"), weight, statistics).find("dsnot.pattern"), std::string::npos);
  EXPECT_NE(message(DsnotStep(1.0), weight, statistics).find("dsnot.sparsity"), std::string::npos);
  InputStatistics broken = Statistics(64, 82);
  broken.sum[3] = std::numeric_limits<float>::infinity();
  EXPECT_NE(message(DsnotStep(), weight, broken).find("NaN or Inf"), std::string::npos);
  weight[2][3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(message(DsnotStep(), weight, statistics).find("layer.q.weight holds NaN"), std::string::npos);
}

}  // namespace
}  // namespace calipress::method
