// X'X from bf16, per path; "rate" counts the whole square (2 T n^2), of which half is computed.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "compress/tensor/cpu_features.h"
#include "compress/tensor/gram.h"

namespace calipress::tensor {
namespace {

void Gram(benchmark::State& state, GramPath path, at::ScalarType dtype) {
  if (path == GramPath::kAvx512Bf16 && !CpuHasAvx512Bf16()) return state.SkipWithError("no AVX512_BF16");
  const int64_t tokens = state.range(0), features = state.range(1);
  at::set_num_threads(static_cast<int>(state.range(2)));
  at::Tensor x = at::randn({tokens, features}).to(dtype);
  at::Tensor sum = at::zeros({features, features});
  for (auto _ : state) AccumulateGram(x, path, sum);
  state.counters["rate"] =
      benchmark::Counter(2.0 * tokens * features * features, benchmark::Counter::kIsIterationInvariantRate);
}

void Shapes(benchmark::internal::Benchmark* bench) {
  for (int threads : {1, 2}) {
    for (int features : {1024, 2816, 4096}) bench->Args({2048, features, threads});
  }
  bench->ArgNames({"tokens", "features", "threads"})->Unit(benchmark::kMillisecond)->UseRealTime();
}

BENCHMARK_CAPTURE(Gram, avx512_bf16, GramPath::kAvx512Bf16, at::kBFloat16)->Apply(Shapes);
BENCHMARK_CAPTURE(Gram, mkl_bf16, GramPath::kAmxBf16, at::kBFloat16)->Apply(Shapes);
BENCHMARK_CAPTURE(Gram, panels_bf16, GramPath::kPanels, at::kBFloat16)->Apply(Shapes);
BENCHMARK_CAPTURE(Gram, panels_f32, GramPath::kPanels, at::kFloat)->Apply(Shapes);

}  // namespace
}  // namespace calipress::tensor
