#include "compress/tensor/gram.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/tril.h>

#include "compress/tensor/cpu_features.h"
#include "compress/tensor/device_kernels.h"
#include "compress/tensor/gram_avx512_bf16.h"

// MKL inside libtorch_cpu. Weak: torch's builds for other processors do not have it.
extern "C" __attribute__((weak)) void cblas_gemm_bf16bf16f32(int layout, int trans_a, int trans_b, int m, int n, int k,
                                                             float alpha, const uint16_t* a, int lda, const uint16_t* b,
                                                             int ldb, float beta, float* c, int ldc);

namespace calipress::tensor {
namespace {

constexpr int64_t kPanelTokens = 512;  // tokens that are fp32 at one time
constexpr int64_t kStripRows = 256;    // a strip of the triangle ends in a square of this size, half of it for nothing

void AccumulatePanels(const at::Tensor& x, at::Tensor& sum) {
  const int64_t features = x.size(1);
  for (int64_t t = 0; t < x.size(0); t += kPanelTokens) {
    at::Tensor panel = x.narrow(0, t, std::min(kPanelTokens, x.size(0) - t)).to(at::kFloat);
    for (int64_t i = 0; i < features; i += kStripRows) {
      const int64_t rows = std::min(kStripRows, features - i);
      sum.narrow(0, i, rows).narrow(1, 0, i + rows).addmm_(panel.narrow(1, i, rows).t(), panel.narrow(1, 0, i + rows));
    }
  }
}

void AccumulateAmx(const at::Tensor& x, at::Tensor& sum) {
  constexpr int kRowMajor = 101, kNoTrans = 111, kTrans = 112;
  const int features = static_cast<int>(x.size(1));
  const int tokens = static_cast<int>(x.size(0));
  const auto* data = reinterpret_cast<const uint16_t*>(x.const_data_ptr<at::BFloat16>());
  float* out = sum.mutable_data_ptr<float>();
  for (int i = 0; i < features; i += kStripRows) {
    const int rows = std::min<int>(kStripRows, features - i);
    cblas_gemm_bf16bf16f32(kRowMajor, kTrans, kNoTrans, rows, i + rows, tokens, 1.0f, data + i, features, data,
                           features, 1.0f, out + static_cast<int64_t>(i) * features, features);
  }
}

// Whole panels against themselves: a device's product of a whole matrix beats strips.
void AccumulateOnDevice(const at::Tensor& x, at::Tensor& sum) {
  if (auto* kernel = DeviceKernelsFor(x.device().type()).accumulate_gram) {
    kernel(x, sum);
    return;
  }
  constexpr int64_t kTokens = 4096;
  for (int64_t t = 0; t < x.size(0); t += kTokens) {
    at::Tensor panel = x.narrow(0, t, std::min(kTokens, x.size(0) - t)).to(at::kFloat);
    sum.addmm_(panel.t(), panel);
  }
}

}  // namespace

GramPath GramPathFor(const at::Tensor& x) {
  if (!x.is_cpu()) return GramPath::kDevice;
  if (x.scalar_type() == at::kBFloat16) {
    if (CpuHasAmxBf16() && &cblas_gemm_bf16bf16f32 != nullptr) return GramPath::kAmxBf16;
    if (CpuHasFastAvx512Bf16()) return GramPath::kAvx512Bf16;
  }
  return GramPath::kPanels;
}

void AccumulateGram(const at::Tensor& x, GramPath path, at::Tensor& sum) {
  if (x.size(0) == 0) return;
  switch (path) {
    case GramPath::kAmxBf16:
      AccumulateAmx(x, sum);
      return;
    case GramPath::kAvx512Bf16:
      AccumulateGramAvx512Bf16(reinterpret_cast<const uint16_t*>(x.const_data_ptr<at::BFloat16>()), x.size(0),
                               x.size(1), sum.mutable_data_ptr<float>());
      return;
    case GramPath::kPanels:
      AccumulatePanels(x, sum);
      return;
    case GramPath::kDevice:
      AccumulateOnDevice(x, sum);
      return;
  }
}

void MirrorLower(at::Tensor& matrix) {
  if (!matrix.is_cpu()) {
    matrix.copy_(at::add(matrix.tril(), matrix.tril(-1).t()));
    return;
  }
  constexpr int64_t kBlock = 32;  // two blocks of 4 KiB stay in the first cache
  const int64_t n = matrix.size(0);
  float* data = matrix.mutable_data_ptr<float>();
  at::parallel_for(0, (n + kBlock - 1) / kBlock, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t i_end = std::min(n, (block + 1) * kBlock);
      for (int64_t j0 = 0; j0 < i_end; j0 += kBlock) {
        for (int64_t i = block * kBlock; i < i_end; ++i) {
          const int64_t j_end = std::min(i, j0 + kBlock);
          for (int64_t j = j0; j < j_end; ++j) data[j * n + i] = data[i * n + j];
        }
      }
    }
  });
}

}  // namespace calipress::tensor
