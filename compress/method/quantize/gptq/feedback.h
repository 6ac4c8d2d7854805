#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "compress/method/quantize/gptq/sweep_kernel.h"
#include "compress/tensor/aligned_buffer.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::method::gptq {

// C = L D^-1 by blocks of 8 columns in processing order: block s has rows j < 8 s + 8, each of 8 factors; entry (j, k)
// is what column k takes of column j's error, zero for j >= k. Columns are padded to a multiple of 8.
struct Feedback {
  explicit Feedback(const at::Tensor& lower)
      : columns(lower.size(0)), padded((columns + kBlockColumns - 1) / kBlockColumns * kBlockColumns) {
    factors = tensor::MakeAlignedBuffer<float>(Offset(padded / kBlockColumns));
    pivots = tensor::MakeAlignedBuffer<float>(padded);
    const float* l = lower.const_data_ptr<float>();
    const int64_t n = columns;
    tensor::ForEachItem(padded / kBlockColumns, [&](int64_t block) {
      const int64_t first = block * kBlockColumns;
      float inverse[kBlockColumns];
      for (int64_t k = 0; k < kBlockColumns; ++k) {
        const int64_t i = n - 1 - (first + k);
        pivots[first + k] = i < 0 ? 0.0f : l[i * n + i];
        inverse[k] = i < 0 ? 0.0f : 1.0f / l[i * n + i];
      }
      float* out = factors.get() + Offset(block);
      for (int64_t j = 0; j < first + kBlockColumns; ++j, out += kBlockColumns) {
        const float* row = l + (n - 1 - j) * n;
        for (int64_t k = 0; k < kBlockColumns; ++k) {
          const int64_t column = first + k;
          out[k] = j < column && column < n ? row[n - 1 - column] * inverse[k] : 0.0f;
        }
      }
    });
  }
  static int64_t Offset(int64_t block) { return kBlockColumns * kBlockColumns * (block * (block + 1) / 2); }
  // The factors of one block from errors of column `from` on.
  const float* At(int64_t block, int64_t from) const { return factors.get() + Offset(block) + from * kBlockColumns; }

  int64_t columns, padded;
  tensor::AlignedBuffer<float> factors;
  tensor::AlignedBuffer<float> pivots;
};

}  // namespace calipress::method::gptq
