#include "compress/method/quantize/spqr/spqr.h"

#include <limits>
#include <string>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/tensor/cpu_features.h"
#include "tests/unit/compress/method/testing_problem.h"
#include "tests/unit/compress/method/testing_spqr.h"

namespace calipress::method {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

spqr::SweepTask SweepOne(spqr::SweepOptions options, const at::Tensor& weight, const at::Tensor& moment, bool act_order,
                         double damping, const spqr::TileKernel& kernel = spqr::BestTileKernel()) {
  options.act_order = act_order;
  const gptq::ColumnPlan plan = gptq::PlanColumns(moment, act_order);
  const gptq::Factor factor = *gptq::Factorize(moment, plan, damping);
  std::vector<spqr::SweepTask> tasks(1);
  tasks[0].weight = weight.clone();
  for (int64_t column : plan.dead) tasks[0].weight.select(1, column).zero_();
  spqr::Sweep(options, plan, factor, kernel, tasks);
  return tasks[0];
}

bool SameTensor(const at::Tensor& a, const at::Tensor& b) {
  return a.defined() == b.defined() && (!a.defined() || at::equal(a, b));
}

bool SameBits(const SpqrWeight& a, const SpqrWeight& b) {
  return SameTensor(a.order, b.order) && SameTensor(a.codes, b.codes) && SameTensor(a.scale_codes, b.scale_codes) &&
         SameTensor(a.zero_codes, b.zero_codes) && SameTensor(a.scale_steps, b.scale_steps) &&
         SameTensor(a.scale_lows, b.scale_lows) && SameTensor(a.zero_steps, b.zero_steps) &&
         SameTensor(a.zero_lows, b.zero_lows) && SameTensor(a.outlier_offsets, b.outlier_offsets) &&
         SameTensor(a.outlier_columns, b.outlier_columns) && SameTensor(a.outlier_values, b.outlier_values);
}

struct Case {
  spqr::SweepOptions options;
  at::ScalarType dtype = at::kFloat;
  int64_t rows = 48, columns = 96;
  bool act_order = true;
  double damping = 0.3;
};

// Heavy tails, so that there are outliers to find.
at::Tensor HeavyWeight(const Case& c, uint64_t seed) {
  at::Tensor weight = RandomNormal({c.rows, c.columns}, seed);
  return weight.mul(weight.abs().pow(1.5)).mul_(0.02).to(c.dtype);
}

void ExpectReference(const Case& c, uint64_t seed) {
  const at::Tensor moment = StatisticsOf(CorrelatedInputs(400, c.columns, seed)).second_moment;
  const at::Tensor weight = HeavyWeight(c, seed + 9);
  const ReferenceSpqrResult expected = ReferenceSpqr(weight, moment, c.options, c.act_order, c.damping);
  const spqr::SweepTask got = SweepOne(c.options, weight, moment, c.act_order, c.damping);
  // A tie that falls the other way changes the rest of its row and what its run of rows shares.
  EXPECT_GT(Agreement(got.result.codes, expected.codes), 0.98) << seed;
  EXPECT_GT(Agreement(OutlierMask(got.result), expected.outliers), 0.999) << seed;
  EXPECT_NEAR(got.loss / expected.loss, 1.0, 0.01) << seed;
  const at::Tensor value = DequantizeSpqr(got.result).to(at::kDouble);
  EXPECT_GT(at::isclose(value, expected.dequantized, 1e-4, 1e-6).to(at::kDouble).mean().item<double>(), 0.98) << seed;
  if (std::isfinite(c.options.outlier_threshold)) {
    EXPECT_GT(expected.outliers.sum().item<int64_t>(), 10) << "nothing was tested of outliers";
  }
}

TEST(Spqr, IsTheReferenceInDouble) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    for (int bits : {2, 3, 4}) {
      Case c;
      c.options.bits = bits;
      c.options.outlier_threshold = 0.2;
      ExpectReference(c, seed * 10 + bits);
    }
  }
}

TEST(Spqr, IsTheReferenceUnderEveryOption) {
  Case simplified, plain, natural, wide, half, odd;
  simplified.options.outlier_threshold = 0.2;
  simplified.options.leave_one_out = false;
  ExpectReference(simplified, 1);
  ExpectReference(plain, 2);
  natural.options.outlier_threshold = 0.3;
  natural.act_order = false;
  ExpectReference(natural, 3);
  wide.options = {.bits = 3, .scale_bits = 4, .zero_bits = 5, .group_size = 32, .scale_group_size = 8};
  wide.options.outlier_threshold = 0.1;
  wide.columns = 160;
  ExpectReference(wide, 4);
  half.dtype = at::kBFloat16;
  half.options.outlier_threshold = 0.2;
  ExpectReference(half, 5);
  // Rows that no run of scales divides, columns that no panel divides.
  odd.rows = 37;
  odd.columns = 272;
  odd.options.outlier_threshold = 0.2;
  ExpectReference(odd, 6);
}

TEST(Spqr, ShrunkRangesAreTheReferencesAndPay) {
  double fitted = 0.0, shrunk = 0.0;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    Case c;
    c.options.bits = 2;
    c.options.shrink_ranges = true;
    // With outliers, without the search for them, and with none.
    c.options.outlier_threshold = seed < 2 ? 0.2 : kInfinite;
    c.options.leave_one_out = seed % 2 == 0;
    ExpectReference(c, 70 + seed);
    const at::Tensor moment = StatisticsOf(CorrelatedInputs(400, c.columns, 80 + seed)).second_moment;
    const at::Tensor weight = HeavyWeight(c, 90 + seed);
    shrunk += SweepOne(c.options, weight, moment, true, 1.0).loss;
    c.options.shrink_ranges = false;
    fitted += SweepOne(c.options, weight, moment, true, 1.0).loss;
  }
  EXPECT_LT(shrunk, fitted);
}

// Oracle 8: without outliers, and with second-level grids of one value each (which hold it exactly in fp32), only GPTQ
// with min-max grids is left, fitted as the sweep goes and with zero points that are no integers.
TEST(Spqr, WithoutOutliersAndSecondLevelIsGptq) {
  const int64_t rows = 40, columns = 128, width = 16;
  const at::Tensor moment = StatisticsOf(CorrelatedInputs(500, columns, 21)).second_moment;
  const at::Tensor weight = RandomWeight(rows, columns, at::kFloat, 22);
  spqr::SweepOptions options;
  options.scale_group_size = 1;
  const spqr::SweepTask got = SweepOne(options, weight, moment, false, 0.01);
  EXPECT_EQ(got.result.outlier_columns.numel(), 0);

  at::Tensor h = moment.to(at::kDouble).clone();
  h.diagonal().add_(0.01 * h.diagonal().mean().item<double>());
  const at::Tensor u = at::linalg_cholesky(at::linalg_inv(h)).t();
  at::Tensor w = weight.to(at::kDouble).clone(), codes = at::empty({rows, columns}, at::kByte), scale, zero;
  for (int64_t i = 0; i < columns; ++i) {
    if (i % width == 0) {
      const auto [low, high] = at::aminmax(w.narrow(1, i, width), 1);
      scale = high.sub(low).div(15.0);
      zero = low.neg().div(scale);
    }
    const at::Tensor code = w.select(1, i).div(scale).add(zero).round().clamp(0, 15);
    codes.select(1, i).copy_(code);
    const at::Tensor error = w.select(1, i).sub(code.sub(zero).mul(scale)).div(u[i][i]);
    w.narrow(1, i, columns - i).sub_(at::outer(error, u[i].narrow(0, i, columns - i)));
  }
  EXPECT_GT(Agreement(got.result.codes, codes), 0.995);
}

// Oracle 2, for any decision in any column.
TEST(Spqr, LossIsTheQuadraticForm) {
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (double threshold : {0.05, 0.2, kInfinite}) {
      Case c;
      c.dtype = dtype;
      c.options.bits = 3;
      c.options.outlier_threshold = threshold;
      const at::Tensor moment = StatisticsOf(CorrelatedInputs(400, c.columns, 31)).second_moment;
      const at::Tensor weight = HeavyWeight(c, 32);
      const spqr::SweepTask got = SweepOne(c.options, weight, moment, true, 0.5);
      at::Tensor h = moment.to(at::kDouble).clone();
      const double mean = h.diagonal().mean().item<double>();
      h.diagonal().add_(0.5 * mean);
      const at::Tensor change = weight.to(at::kDouble).sub(DequantizeSpqr(got.result).to(at::kDouble));
      EXPECT_NEAR(got.loss * mean / Form(change, h), 1.0, 1e-4) << dtype << " " << threshold;
      EXPECT_NEAR(got.shift / change.square().sum().item<double>(), 1.0, 1e-5) << dtype << " " << threshold;
    }
  }
}

TEST(Spqr, RelativeErrorIsTheRatioOfForms) {
  at::Tensor inputs = CorrelatedInputs(600, 128, 33);
  inputs.narrow(1, 40, 3).zero_();
  const InputStatistics statistics = StatisticsOf(inputs);
  for (double threshold : {0.0, 0.2}) {
    const at::Tensor weight = RandomWeight(64, 128, at::kBFloat16, 34);
    const LinearResult result = CompressOne(SpqrStep(4, threshold), weight, &statistics);
    const at::Tensor error = weight.to(at::kDouble).sub(result.weight.to(at::kDouble));
    const double expected = Form(error, statistics.second_moment) / Form(weight, statistics.second_moment);
    EXPECT_NEAR(result.relative_error / expected, 1.0, 0.01) << threshold;
    EXPECT_EQ(result.dead_columns, 3);
    EXPECT_EQ(result.method, "spqr");
  }
}

TEST(Spqr, BeatsGptqAtTheSameBits) {
  double spqr = 0.0, gptq = 0.0;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    Case c;
    c.dtype = at::kBFloat16;
    c.columns = 256;
    const InputStatistics statistics = StatisticsOf(CorrelatedInputs(600, 256, seed));
    const at::Tensor weight = HeavyWeight(c, seed + 40);
    spqr += CompressOne(SpqrStep(3, 0.2), weight, &statistics).relative_error;
    gptq += CompressOne(GptqStep(3, 128, false), weight, &statistics).relative_error;
  }
  EXPECT_LT(spqr, 0.5 * gptq);
}

TEST(Spqr, MoreOutliersAtLowerThresholdsAndNoneAtZero) {
  Case c;
  c.dtype = at::kBFloat16;
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(400, c.columns, 41));
  const at::Tensor weight = HeavyWeight(c, 42);
  int64_t last = 0;
  double error = 1.0;
  for (double threshold : {0.0, 1.0, 0.3, 0.1, 0.03}) {
    const LinearResult result = CompressOne(SpqrStep(3, threshold), weight, &statistics);
    const int64_t count = result.spqr->outlier_columns.numel();
    EXPECT_EQ(count == 0, threshold == 0.0);
    EXPECT_GE(count, last) << threshold;
    EXPECT_LT(result.relative_error, error) << threshold;
    last = count;
    error = result.relative_error;
  }
}

TEST(Spqr, OutliersAreKeptInTheCheckpointsDtype) {
  Case c;
  c.dtype = at::kHalf;
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(400, c.columns, 43));
  const LinearResult result = CompressOne(SpqrStep(4, 0.1), HeavyWeight(c, 44), &statistics);
  const SpqrWeight& spqr = *result.spqr;
  ASSERT_GT(spqr.outlier_values.numel(), 0);
  EXPECT_EQ(spqr.outlier_values.scalar_type(), at::kHalf);
  const at::Tensor mask = OutlierMask(spqr);
  // Both go through the rows with columns ascending.
  EXPECT_TRUE(at::equal(result.weight.masked_select(mask), spqr.outlier_values));
  EXPECT_EQ(result.weight.scalar_type(), at::kHalf);
}

TEST(Spqr, WeightIsWhatALoaderReads) {
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (bool act_order : {true, false}) {
      Case c;
      c.dtype = dtype;
      c.rows = 37;
      const InputStatistics statistics = StatisticsOf(CorrelatedInputs(400, c.columns, 45));
      v1::Step step = SpqrStep(3, 0.1);
      step.mutable_spqr()->set_act_order(act_order);
      const LinearResult result = CompressOne(step, HeavyWeight(c, 46), &statistics);
      const checkpoint::SpqrView view = ViewOf(*result.spqr);
      std::vector<char> bytes;
      ASSERT_TRUE(checkpoint::EncodeSpqr(view, [&](const void* data, int64_t size) {
                    bytes.insert(bytes.end(), static_cast<const char*>(data), static_cast<const char*>(data) + size);
                    return absl::OkStatus();
                  }).ok());
      const auto plans = checkpoint::SpqrLinearPlan("m", c.rows, c.columns, view.scheme, view.dtype, view.Outliers());
      const auto linear = checkpoint::DecodeSpqr(
          "m", c.rows, c.columns, view.scheme,
          [&](std::string_view name) -> absl::StatusOr<std::optional<checkpoint::SpqrTensorBytes>> {
            int64_t at = 0;
            for (const auto& plan : plans) {
              const int64_t size = checkpoint::TensorBytes(plan);
              if (plan.name == "m." + std::string(name)) {
                return checkpoint::SpqrTensorBytes{
                    plan.dtype, plan.shape, {bytes.begin() + at, bytes.begin() + at + size}};
              }
              at += size;
            }
            return std::nullopt;
          });
      ASSERT_TRUE(linear.ok()) << linear.status();
      at::Tensor loaded = at::empty_like(result.weight);
      checkpoint::DequantizeSpqrRows(linear->View(), 0, c.rows, loaded.mutable_data_ptr());
      EXPECT_TRUE(at::equal(loaded, result.weight)) << dtype << act_order;
    }
  }
}

TEST(Spqr, ThreadsAndNeighboursChangeNoBit) {
  Case c;
  c.dtype = at::kBFloat16;
  c.rows = 200;
  c.columns = 384;
  c.options.outlier_threshold = 0.2;
  const at::Tensor moment = StatisticsOf(CorrelatedInputs(900, c.columns, 51)).second_moment;
  const gptq::ColumnPlan plan = gptq::PlanColumns(moment, true);
  const gptq::Factor factor = *gptq::Factorize(moment, plan, 1.0);
  std::vector<std::vector<spqr::SweepTask>> runs;
  const int threads = at::get_num_threads();
  for (int count : {1, 2}) {
    at::set_num_threads(count);
    auto& tasks = runs.emplace_back(2);
    for (int i = 0; i < 2; ++i) tasks[i].weight = HeavyWeight(c, 52 + i);
    spqr::Sweep(c.options, plan, factor, tasks);
  }
  auto& alone = runs.emplace_back(1);
  alone[0].weight = HeavyWeight(c, 52);
  spqr::Sweep(c.options, plan, factor, alone);
  at::set_num_threads(threads);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(SameBits(runs[0][i].result, runs[1][i].result)) << i;
    EXPECT_EQ(runs[0][i].loss, runs[1][i].loss);
  }
  EXPECT_TRUE(SameBits(runs[0][0].result, alone[0].result));
}

TEST(Spqr, EveryKernelFindsTheSame) {
  Case c;
  c.options.outlier_threshold = 0.2;
  c.options.shrink_ranges = true;
  const at::Tensor moment = StatisticsOf(CorrelatedInputs(400, c.columns, 53)).second_moment;
  const at::Tensor weight = HeavyWeight(c, 54);
  const spqr::SweepTask portable = SweepOne(c.options, weight, moment, true, 1.0, spqr::kTilePortable);
  std::vector<const spqr::TileKernel*> kernels;
  if (tensor::CpuHasAvx2()) kernels.push_back(&spqr::kTileAvx2);
  if (tensor::CpuHasAvx512()) kernels.push_back(&spqr::kTileAvx512);
  for (const spqr::TileKernel* kernel : kernels) {
    const spqr::SweepTask other = SweepOne(c.options, weight, moment, true, 1.0, *kernel);
    EXPECT_GT(Agreement(portable.result.codes, other.result.codes), 0.98) << kernel->name;
    EXPECT_GT(Agreement(OutlierMask(portable.result), OutlierMask(other.result)), 0.999) << kernel->name;
  }
}

// The reference takes the range -1..1 for a group of equal values, which makes the steps of its run's scales many times
// as wide as the scales are.
TEST(Spqr, ZeroRowsAndEqualGroupsSpoilNothing) {
  const at::Tensor weight = RandomWeight(48, 96, at::kBFloat16, 62);
  at::Tensor odd = weight.clone();
  odd.select(0, 3).zero_();
  odd.select(0, 20).fill_(0.015);
  // Correlated inputs change a row of equal values on its way, but not one of zeros.
  const InputStatistics correlated = StatisticsOf(CorrelatedInputs(400, 96, 61));
  const InputStatistics independent = WithMoment(at::eye(96), 100);
  for (const InputStatistics* statistics : {&correlated, &independent}) {
    if (statistics == &correlated) odd.select(0, 20).copy_(weight.select(0, 20));
    if (statistics == &independent) odd.select(0, 20).fill_(0.015);
    const LinearResult whole = CompressOne(SpqrStep(4, 0.0), weight, statistics);
    const LinearResult result = CompressOne(SpqrStep(4, 0.0), odd, statistics);
    const at::Tensor error = odd.to(at::kFloat).sub(result.weight.to(at::kFloat)).abs();
    EXPECT_LT(result.relative_error, 1.1 * whole.relative_error);
    EXPECT_LT(error.select(0, 3).max().item<float>(), 0.004);
    EXPECT_LT(error.select(0, 20).max().item<float>(), 0.007);
  }
}

TEST(Spqr, AllZeroWeightsStayZero) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(200, 32, 63));
  for (double threshold : {0.0, 0.2}) {
    const LinearResult result = CompressOne(SpqrStep(4, threshold), at::zeros({20, 32}, at::kHalf), &statistics);
    EXPECT_EQ(result.weight.abs().max().item<float>(), 0.0f);
    EXPECT_EQ(result.spqr->outlier_columns.numel(), 0);
    EXPECT_EQ(result.relative_error, 0.0);
  }
}

TEST(Spqr, OneRowHasNoSensitivityToCompareWith) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(200, 32, 64));
  const LinearResult result = CompressOne(SpqrStep(4, 0.2), RandomWeight(1, 32, at::kBFloat16, 65), &statistics);
  EXPECT_EQ(result.spqr->outlier_columns.numel(), 0);
  EXPECT_LT(result.relative_error, 0.02);
}

TEST(Spqr, DeadColumnsHaveNoOutliersAndNoLoss) {
  at::Tensor inputs = CorrelatedInputs(400, 96, 66);
  inputs.narrow(1, 10, 5).zero_();
  const InputStatistics statistics = StatisticsOf(inputs);
  Case c;
  c.dtype = at::kBFloat16;
  v1::Step step = SpqrStep(3, 0.05);
  step.mutable_spqr()->set_act_order(false);
  const LinearResult result = CompressOne(step, HeavyWeight(c, 67), &statistics);
  EXPECT_EQ(result.dead_columns, 5);
  const at::Tensor mask = OutlierMask(*result.spqr);
  EXPECT_GT(mask.sum().item<int64_t>(), 0);
  EXPECT_EQ(mask.narrow(1, 10, 5).sum().item<int64_t>(), 0);
  EXPECT_FALSE(result.spqr->order.defined());
}

TEST(Spqr, ExtremesOfEachDtypeStayFinite) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(200, 64, 68));
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const double largest = dtype == at::kHalf ? 65504.0 : 3.3e38;
    for (double size : {largest, dtype == at::kHalf ? 6e-8 : 1e-38}) {
      for (double threshold : {0.0, 0.2}) {
        at::Tensor weight = RandomNormal({32, 64}, 69).clamp_(-1.0, 1.0).to(at::kDouble).mul_(size).to(dtype);
        const LinearResult result = CompressOne(SpqrStep(4, threshold), weight, &statistics);
        EXPECT_TRUE(at::isfinite(result.weight).all().item<bool>()) << dtype << " " << size << " " << threshold;
      }
    }
  }
}

TEST(Spqr, WithoutInputsItRoundsToNearestOrFails) {
  const InputStatistics statistics = WithMoment(at::zeros({64, 64}), 10);
  const at::Tensor weight = RandomWeight(32, 64, at::kBFloat16, 71);
  const LinearResult result = CompressOne(SpqrStep(4, 0.2), weight, &statistics);
  EXPECT_EQ(result.method, "spqr (fallback)");
  EXPECT_NE(result.warning.find("no calibration token"), std::string::npos);
  ASSERT_TRUE(result.spqr.has_value());
  EXPECT_LT(result.weight.sub(weight).abs().max().item<float>(), 0.01);
  v1::Step step = SpqrStep(4, 0.2);
  step.mutable_spqr()->set_on_numeric_failure(v1::ON_NUMERIC_FAILURE_FAIL);
  const auto failed = (*MakeMethod(step))->Compress({{"m", weight}}, &statistics);
  EXPECT_EQ(ErrorReason(failed.status()), reason::kHessianNotPositiveDefinite);
}

TEST(Spqr, RefusesWhatItCannotDo) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(200, 64, 72));
  const auto method = *MakeMethod(SpqrStep(4, 0.2));
  at::Tensor broken = RandomWeight(32, 64, at::kBFloat16, 73);
  broken[3][5] = std::numeric_limits<float>::quiet_NaN();
  const auto nan = method->Compress({{"model.layers.7.x", broken}}, &statistics);
  EXPECT_EQ(ErrorReason(nan.status()), reason::kNonFiniteWeights);
  EXPECT_NE(nan.status().message().find("model.layers.7.x"), std::string::npos);
  LinearTask pruned{"m", RandomWeight(32, 64, at::kBFloat16, 74)};
  pruned.pruned = pruned.weight.lt(0.0);
  EXPECT_EQ(ErrorReason(method->Compress({pruned}, &statistics).status()), reason::kInvalidRecipe);
  EXPECT_EQ(ErrorReason(method->Compress({{"m", RandomWeight(32, 40, at::kBFloat16, 75)}}, &statistics).status()),
            reason::kInvalidRecipe);
  InputStatistics infinite = WithMoment(statistics.second_moment.clone(), 10);
  infinite.second_moment[2][2] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(ErrorReason(method->Compress({{"m", RandomWeight(32, 64, at::kBFloat16, 76)}}, &infinite).status()),
            reason::kNonFiniteActivations);
  const auto refuses = [](auto change) {
    v1::Step step = SpqrStep(4, 0.2);
    change(*step.mutable_spqr());
    EXPECT_EQ(ErrorReason(MakeMethod(step).status()), reason::kInvalidRecipe) << step.ShortDebugString();
  };
  refuses([](v1::Spqr& s) { s.set_bits(5); });
  refuses([](v1::Spqr& s) { s.set_group_size(12); });
  refuses([](v1::Spqr& s) { s.set_group_size(-1); });
  refuses([](v1::Spqr& s) { s.set_scale_bits(9); });
  refuses([](v1::Spqr& s) { s.set_zero_bits(0); });
  refuses([](v1::Spqr& s) { s.set_scale_group_size(24); });
  refuses([](v1::Spqr& s) { s.set_outlier_threshold(-0.1); });
  refuses([](v1::Spqr& s) { s.set_damping(0.0); });
}

}  // namespace
}  // namespace calipress::method
