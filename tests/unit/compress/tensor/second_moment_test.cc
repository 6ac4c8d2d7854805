#include "compress/tensor/second_moment.h"

#include <string>
#include <tuple>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "compress/tensor/cpu_features.h"
#include "compress/tensor/gram.h"

namespace calipress::tensor {
namespace {

at::Tensor Random(int64_t tokens, int64_t features, at::ScalarType dtype, uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn({tokens, features}, generator, at::kFloat).to(dtype);
}

at::Tensor Reference(const at::Tensor& x) {
  at::Tensor wide = x.to(at::kDouble);
  return at::mm(wide.t(), wide);
}

// Largest error in units of the size that entry (i, j) can have.
double RelativeError(const at::Tensor& sum, const at::Tensor& reference) {
  at::Tensor norm = reference.diagonal().sqrt();
  at::Tensor bound = at::outer(norm, norm).clamp_min(1e-30);
  return ((sum.to(at::kDouble) - reference).abs() / bound).max().item<double>();
}

struct Case {
  GramPath path;
  at::ScalarType dtype;
  std::string name;
};

class GramPathTest : public testing::TestWithParam<std::tuple<Case, std::tuple<int, int>>> {
 protected:
  void SetUp() override {
    GramPath path = std::get<0>(GetParam()).path;
    if (path == GramPath::kAvx512Bf16 && !CpuHasAvx512Bf16()) GTEST_SKIP() << "this processor has no AVX512_BF16";
  }
};

TEST_P(GramPathTest, MatchesDoublePrecision) {
  const auto& [which, shape] = GetParam();
  const auto [tokens, features] = shape;
  at::Tensor x = Random(tokens, features, which.dtype, 7);
  at::Tensor sum = at::zeros({features, features}, at::kFloat);
  AccumulateGram(x, which.path, sum);
  MirrorLower(sum);
  EXPECT_LT(RelativeError(sum, Reference(x)), 2e-6);
  EXPECT_TRUE(at::equal(sum, sum.t()));
}

TEST_P(GramPathTest, AddsToWhatIsThere) {
  const auto& [which, shape] = GetParam();
  const auto [tokens, features] = shape;
  at::Tensor x = Random(tokens, features, which.dtype, 8);
  at::Tensor sum = at::zeros({features, features}, at::kFloat);
  AccumulateGram(x, which.path, sum);
  at::Tensor once = sum.clone();
  AccumulateGram(x, which.path, sum);
  EXPECT_LT((sum.tril() - 2 * once.tril()).abs().max().item<float>(), 1e-3);
  EXPECT_GT(once.diagonal().min().item<float>(), 0.0f);
}

std::string CaseName(const testing::TestParamInfo<GramPathTest::ParamType>& info) {
  const auto& [tokens, features] = std::get<1>(info.param);
  return std::get<0>(info.param).name + "_" + std::to_string(tokens) + "x" + std::to_string(features);
}

INSTANTIATE_TEST_SUITE_P(Paths, GramPathTest,
                         testing::Combine(testing::Values(Case{GramPath::kAmxBf16, at::kBFloat16, "Mkl"},
                                                          Case{GramPath::kAvx512Bf16, at::kBFloat16, "Avx512Bf16"},
                                                          Case{GramPath::kPanels, at::kBFloat16, "PanelsBf16"},
                                                          Case{GramPath::kPanels, at::kHalf, "PanelsF16"},
                                                          Case{GramPath::kPanels, at::kFloat, "PanelsF32"},
                                                          Case{GramPath::kDevice, at::kBFloat16, "DeviceBf16"}),
                                          testing::Values(std::make_tuple(1, 1), std::make_tuple(3, 17),
                                                          std::make_tuple(512, 64), std::make_tuple(513, 45),
                                                          std::make_tuple(700, 300), std::make_tuple(1300, 577))),
                         CaseName);

class SecondMomentTest : public testing::TestWithParam<at::ScalarType> {};

// Oracle 4 of docs/methods: the sum over shards is the whole.
TEST_P(SecondMomentTest, ShardsSumToTheWhole) {
  at::Tensor x = Random(1000, 130, GetParam(), 11);
  SecondMoment whole(130, at::kCPU);
  whole.Add(x);
  at::Tensor sum = at::zeros({130, 130}, at::kFloat);
  int64_t tokens = 0;
  for (auto [begin, end] : {std::pair{0, 1}, {1, 400}, {400, 999}, {999, 1000}}) {
    SecondMoment shard(130, at::kCPU);
    shard.Add(x.narrow(0, begin, end - begin));
    sum += shard.Full();
    tokens += shard.tokens();
  }
  EXPECT_EQ(tokens, whole.tokens());
  EXPECT_LT(RelativeError(sum, whole.Full().to(at::kDouble)), 2e-6);
}

TEST_P(SecondMomentTest, GoesOnAfterFull) {
  at::Tensor x = Random(200, 70, GetParam(), 12);
  SecondMoment moment(70, at::kCPU);
  moment.Add(x.narrow(0, 0, 50));
  moment.Full();
  moment.Add(x.narrow(0, 50, 150));
  EXPECT_LT(RelativeError(moment.Full(), Reference(x)), 2e-6);
  EXPECT_EQ(moment.tokens(), 200);
}

TEST_P(SecondMomentTest, EmptyInputAddsNothing) {
  SecondMoment moment(8, at::kCPU);
  moment.Add(at::empty({0, 8}, GetParam()));
  EXPECT_EQ(moment.tokens(), 0);
  EXPECT_EQ(moment.Full().abs().max().item<float>(), 0.0f);
}

TEST_P(SecondMomentTest, NotANumberReachesTheSum) {
  at::Tensor x = Random(40, 30, GetParam(), 13);
  x[3].narrow(0, 17, 1).fill_(std::numeric_limits<float>::quiet_NaN());
  SecondMoment moment(30, at::kCPU);
  moment.Add(x);
  EXPECT_TRUE(at::isnan(moment.Full()[17][17]).item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Dtypes, SecondMomentTest, testing::Values(at::kBFloat16, at::kHalf, at::kFloat),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST(SecondMomentThreads, Bf16SumIsTheSameForAnyThreadCount) {
  if (!CpuHasAvx512Bf16()) GTEST_SKIP() << "this processor has no AVX512_BF16";
  at::Tensor x = Random(900, 400, at::kBFloat16, 14);
  const int threads = at::get_num_threads();
  at::Tensor sums[2];
  for (int i = 0; i < 2; ++i) {
    at::set_num_threads(i + 1);
    sums[i] = at::zeros({400, 400});
    AccumulateGram(x, GramPath::kAvx512Bf16, sums[i]);
    MirrorLower(sums[i]);
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(sums[0], sums[1]));
}

TEST(SecondMomentShape, WrongWidthThrows) {
  SecondMoment moment(8, at::kCPU);
  EXPECT_THROW(moment.Add(at::zeros({4, 9})), c10::Error);
}

}  // namespace
}  // namespace calipress::tensor
