// The sweep of SpQR, on the shapes of gptq_bench.cc.
#include <cmath>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "compress/method/quantize/gptq/factor.h"
#include "compress/method/quantize/spqr/sweep.h"
#include "compress/tensor/second_moment.h"

namespace calipress::method {
namespace {

void SpqrSweep(benchmark::State& state, const spqr::TileKernel& kernel, double threshold, bool leave_one_out) {
  at::set_num_threads(static_cast<int>(state.range(2)));
  const int64_t rows = state.range(0), columns = state.range(1);
  at::Tensor mixing = at::randn({columns, columns}).div_(std::sqrt(static_cast<double>(columns)));
  tensor::SecondMoment moment(columns, at::kCPU);
  moment.Add(at::mm(at::randn({4096, columns}), mixing).to(at::kBFloat16));
  const at::Tensor full = moment.Full();
  const gptq::ColumnPlan plan = gptq::PlanColumns(full, true);
  const gptq::Factor factor = *gptq::Factorize(full, plan, 1.0);
  spqr::SweepOptions options;
  options.outlier_threshold = threshold;
  options.leave_one_out = leave_one_out;
  std::vector<spqr::SweepTask> tasks(1);
  tasks[0].weight = at::randn({rows, columns}).mul_(0.02).to(at::kBFloat16);
  for (auto _ : state) spqr::Sweep(options, plan, factor, kernel, tasks);
  state.counters["outliers"] = static_cast<double>(tasks[0].result.outlier_columns.numel()) / (rows * columns);
}

void SpqrShapes(benchmark::internal::Benchmark* bench) {
  for (int threads : {1, 2}) {
    bench->Args({2048, 1024, threads})->Args({5632, 1024, threads})->Args({1024, 2816, threads});
  }
  bench->ArgNames({"rows", "columns", "threads"})->Unit(benchmark::kMillisecond)->UseRealTime();
}
BENCHMARK_CAPTURE(SpqrSweep, best, spqr::BestTileKernel(), 0.2, true)->Apply(SpqrShapes);
BENCHMARK_CAPTURE(SpqrSweep, simplified, spqr::BestTileKernel(), 0.2, false)
    ->Args({5632, 1024, 1})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(SpqrSweep, no_outliers, spqr::BestTileKernel(), INFINITY, true)
    ->Args({5632, 1024, 1})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(SpqrSweep, portable, spqr::kTilePortable, 0.2, true)
    ->Args({5632, 1024, 1})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace calipress::method
