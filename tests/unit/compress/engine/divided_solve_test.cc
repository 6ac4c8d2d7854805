#include "compress/engine/divided_solve.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calipress/v1/recipe.pb.h"
#include "compress/base/error.h"
#include "compress/engine/result_bytes.h"
#include "compress/recipe/recipe.h"
#include "testing_replicas.h"

namespace calipress::engine {
namespace {

constexpr int64_t kIn = 256;

std::unique_ptr<method::Method> Make(const std::string& step) {
  const auto recipe = recipe::ParseYaml("calibration: {sources: [{text: {uri: 'x.txt'}}]}\nsteps: [{" + step + "}]");
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  arch::ArchSpec spec;
  spec.max_positions = 128;
  auto method = method::MakeMethod(recipe::Resolve(*recipe, spec).steps(0));
  EXPECT_TRUE(method.ok()) << method.status();
  return *std::move(method);
}

// Three linears of uneven sizes, the last too small for every rank to have a run of rows of.
std::vector<method::LinearTask> Tasks() {
  at::manual_seed(5);
  std::vector<method::LinearTask> tasks;
  for (const int64_t out : {200, 72, 8}) {
    auto& task = tasks.emplace_back();
    task.module = "m" + std::to_string(out);
    task.weight = at::randn({out, kIn}).mul(0.1).to(at::kBFloat16);
    task.role = "q_proj";
  }
  return tasks;
}

method::InputStatistics Statistics() {
  at::manual_seed(6);
  const at::Tensor x = at::randn({1024, kIn}) * at::rand({kIn}).mul(3.0);
  method::InputStatistics statistics;
  statistics.second_moment = at::matmul(x.t(), x);
  statistics.square_sum = statistics.second_moment.diagonal().clone();
  statistics.sum = x.sum(0);
  statistics.variance_sum = x.var(0).mul(1024.0);
  statistics.tokens = 1024;
  statistics.sequences = 1;
  return statistics;
}

double Differing(const at::Tensor& a, const at::Tensor& b) { return a.ne(b).to(at::kFloat).mean().item<double>(); }

class DividedSolve : public ::testing::TestWithParam<const char*> {};

TEST_P(DividedSolve, GivesEveryRankWhatOneFinds) {
  const auto method = Make(GetParam());
  const auto tasks = Tasks();
  const auto statistics = Statistics();
  const auto whole = method->Compress(tasks, &statistics);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (const int size : {2, 3, 5}) {
    std::vector<std::vector<method::LinearResult>> of_rank(size);
    testing::RunRanks(size, [&](collective::Group& group) {
      auto results = CompressDivided(*method, tasks, &statistics, group);
      ASSERT_TRUE(results.ok()) << results.status();
      of_rank[group.rank()] = *std::move(results);
    });
    for (const auto& results : of_rank) {
      ASSERT_EQ(results.size(), tasks.size());
      for (size_t i = 0; i < tasks.size(); ++i) {
        const method::LinearResult& one = results[i];
        const method::LinearResult& wanted = (*whole)[i];
        ASSERT_TRUE(one.weight.defined());
        EXPECT_TRUE(one.weight.equal(of_rank[0][i].weight)) << "ranks differ";
        EXPECT_LT(Differing(one.weight, wanted.weight), 0.002) << tasks[i].module << " of " << size;
        EXPECT_EQ(one.method, wanted.method);
        EXPECT_EQ(one.damping, wanted.damping);
        EXPECT_EQ(one.dead_columns, wanted.dead_columns);
        EXPECT_NEAR(one.relative_error, wanted.relative_error, 1e-3 * wanted.relative_error + 1e-9);
        ASSERT_EQ(one.quantized.has_value(), wanted.quantized.has_value());
        ASSERT_EQ(one.spqr.has_value(), wanted.spqr.has_value());
        ASSERT_EQ(one.pruned.defined(), wanted.pruned.defined());
        if (one.quantized) {
          EXPECT_EQ(one.quantized->scheme, wanted.quantized->scheme);
          EXPECT_TRUE(one.quantized->scales.equal(wanted.quantized->scales));
          EXPECT_TRUE(one.weight.equal(method::Dequantize(*one.quantized)));
        }
        if (one.spqr) {
          EXPECT_EQ(one.spqr->scheme, wanted.spqr->scheme);
          EXPECT_TRUE(one.weight.equal(method::DequantizeSpqr(*one.spqr)));
          EXPECT_EQ(one.spqr->outlier_columns.numel(), wanted.spqr->outlier_columns.numel());
          EXPECT_TRUE(one.spqr->outlier_offsets.equal(wanted.spqr->outlier_offsets));
        }
        if (one.pruned.defined()) EXPECT_TRUE(one.pruned.equal(wanted.pruned));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, DividedSolve,
                         ::testing::Values("rtn: {group_size: 64}", "gptq: {group_size: 64, symmetric: false}",
                                           "gptq: {group_size: -1}", "spqr: {bits: 3}", "magnitude: {}",
                                           "magnitude: {pattern: '2:4'}", "wanda: {}", "wanda: {variant: true}",
                                           "dsnot: {}", "sparsegpt: {}",
                                           "sparsegpt: {pattern: '2:4', quantize: {group_size: 64}}"));

TEST(DividedSolveTest, KeepsWhatWasPruned) {
  auto tasks = Tasks();
  for (auto& task : tasks) {
    task.pruned = at::rand(task.weight.sizes()).lt(0.5);
    task.weight = task.weight.masked_fill(task.pruned, 0.0);
  }
  const auto statistics = Statistics();
  const auto method = Make("gptq: {group_size: 64}");
  testing::RunRanks(2, [&](collective::Group& group) {
    auto results = CompressDivided(*method, tasks, &statistics, group);
    ASSERT_TRUE(results.ok()) << results.status();
    for (size_t i = 0; i < tasks.size(); ++i) {
      EXPECT_EQ((*results)[i].weight.masked_select(tasks[i].pruned).count_nonzero().item<int64_t>(), 0);
    }
  });
}

TEST(DividedSolveTest, ReadsNoMoreThanThereIs) {
  ByteWriter writer;
  method::LinearResult result;
  result.weight = at::ones({4, 4});
  result.method = "x";
  PutResult(result, writer);
  for (size_t size = 0; size < writer.bytes().size(); ++size) {
    const std::string cut = writer.bytes().substr(0, size);
    ByteReader reader(cut, at::kCPU);
    (void)TakeResult(reader, at::kCPU);
    EXPECT_FALSE(reader.ok()) << size;
  }
  ByteReader reader(writer.bytes(), at::kCPU);
  EXPECT_TRUE(TakeResult(reader, at::kCPU).weight.equal(result.weight));
  EXPECT_TRUE(reader.ok());
}

}  // namespace
}  // namespace calipress::engine
