// The parts of a GPTQ solve, and whole solves of other methods beside it, on the shapes of a Llama layer with hidden
// 1024 and intermediate 2816.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "compress/method/method.h"
#include "compress/method/quantize/gptq/factor.h"
#include "compress/method/quantize/gptq/sweep.h"
#include "compress/method/quantize/gptq/sweep_kernel.h"
#include "compress/tensor/quadratic_form.h"
#include "compress/tensor/second_moment.h"

namespace calipress::method {
namespace {

at::Tensor Moment(int64_t columns) {
  const int64_t tokens = 4096;
  at::Tensor mixing = at::randn({columns, columns}).div_(std::sqrt(static_cast<double>(columns)));
  at::Tensor x = at::mm(at::randn({tokens, columns}), mixing).to(at::kBFloat16);
  tensor::SecondMoment moment(columns, at::kCPU);
  moment.Add(x);
  return moment.Full();
}

void Factorize(benchmark::State& state) {
  at::set_num_threads(static_cast<int>(state.range(1)));
  const at::Tensor moment = Moment(state.range(0));
  const gptq::ColumnPlan plan = gptq::PlanColumns(moment, true);
  for (auto _ : state) benchmark::DoNotOptimize(gptq::Factorize(moment, plan, 0.01)->damping);
}
BENCHMARK(Factorize)
    ->ArgNames({"columns", "threads"})
    ->Args({1024, 1})
    ->Args({2816, 1})
    ->Args({1024, 2})
    ->Args({2816, 2})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void Shapes(benchmark::internal::Benchmark* bench) {
  for (int threads : {1, 2}) {
    bench->Args({2048, 1024, threads})
        ->Args({1024, 1024, threads})
        ->Args({2816, 1024, threads})
        ->Args({5632, 1024, threads})
        ->Args({1024, 2816, threads});
  }
  bench->ArgNames({"rows", "columns", "threads"})->Unit(benchmark::kMillisecond)->UseRealTime();
}

void SweepColumns(benchmark::State& state, const gptq::SweepKernel& kernel) {
  at::set_num_threads(static_cast<int>(state.range(2)));
  const int64_t rows = state.range(0), columns = state.range(1);
  const at::Tensor moment = Moment(columns);
  const gptq::ColumnPlan plan = gptq::PlanColumns(moment, true);
  const gptq::Factor factor = *gptq::Factorize(moment, plan, 0.01);
  const checkpoint::QuantizationScheme scheme;
  std::vector<gptq::SweepTask> tasks(1);
  tasks[0].weight = at::randn({rows, columns}).mul_(0.02).to(at::kBFloat16);
  tasks[0].grid = FitMinMaxGrid(tasks[0].weight, scheme);
  for (auto _ : state) gptq::SweepOnCpu(scheme, plan, factor, 128, kernel, tasks);
  state.counters["rate"] =
      benchmark::Counter(static_cast<double>(rows) * columns * columns, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(SweepColumns, best, gptq::BestSweepKernel())->Apply(Shapes);
BENCHMARK_CAPTURE(SweepColumns, avx2, gptq::kSweepAvx2)->Args({1024, 1024, 1})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(SweepColumns, portable, gptq::kSweepPortable)->Args({1024, 1024, 1})->Unit(benchmark::kMillisecond);

void QuadraticForms(benchmark::State& state) {
  at::set_num_threads(static_cast<int>(state.range(2)));
  const at::Tensor moment = Moment(state.range(1));
  const at::Tensor weight = at::randn({state.range(0), state.range(1)}).mul_(0.02).to(at::kBFloat16);
  for (auto _ : state) benchmark::DoNotOptimize(tensor::QuadraticForms({weight}, moment)[0]);
}
BENCHMARK(QuadraticForms)->Apply(Shapes);

v1::Step GptqStep() {
  v1::Step step;
  v1::Gptq& options = *step.mutable_gptq();
  options.set_bits(4);
  options.set_group_size(128);
  options.set_symmetric(true);
  options.set_act_order(true);
  options.set_damping(0.01);
  options.set_block_size(128);
  return step;
}

v1::Step RtnStep() {
  v1::Step step;
  step.mutable_rtn()->set_bits(4);
  step.mutable_rtn()->set_group_size(128);
  step.mutable_rtn()->set_symmetric(true);
  return step;
}

v1::Step SparseGptStep(const char* pattern) {
  v1::Step step;
  v1::SparseGpt& options = *step.mutable_sparsegpt();
  options.set_sparsity(0.5);
  options.set_pattern(pattern);
  options.set_damping(0.01);
  options.set_block_size(128);
  return step;
}

// A whole Compress of linears that share an input.
void Compress(benchmark::State& state, const v1::Step& step) {
  at::set_num_threads(static_cast<int>(state.range(2)));
  const int64_t rows = state.range(0), columns = state.range(1);
  const auto method = *MakeMethod(step);
  InputStatistics statistics;
  if (method->needs().Any()) statistics.second_moment = Moment(columns);
  statistics.tokens = 4096;
  const std::vector<LinearTask> tasks = {{"linear", at::randn({rows, columns}).mul_(0.02).to(at::kBFloat16)}};
  for (auto _ : state) {
    benchmark::DoNotOptimize((*method->Compress(tasks, method->needs().Any() ? &statistics : nullptr))[0].seconds);
  }
}
BENCHMARK_CAPTURE(Compress, gptq, GptqStep())->Apply(Shapes);
BENCHMARK_CAPTURE(Compress, rtn, RtnStep())->Apply(Shapes);
BENCHMARK_CAPTURE(Compress, sparsegpt, SparseGptStep(""))->Apply(Shapes);
BENCHMARK_CAPTURE(Compress, sparsegpt_2of4, SparseGptStep("2:4"))->Apply(Shapes);

}  // namespace
}  // namespace calipress::method
