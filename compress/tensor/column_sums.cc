#include "compress/tensor/column_sums.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/var.h>

namespace calipress::tensor {
namespace {

constexpr int64_t kColumns = 256;  // of a task: its sums stay in the first cache

struct Columns {
  float sum[kColumns], square[kColumns], absolute[kColumns], largest[kColumns];
};

// One sequence, `count` columns. The compiler makes vectors of the inner loop.
template <typename T>
void SumColumns(const T* x, int64_t rows, int64_t stride, int64_t count, Columns& columns) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* from = x + row * stride;
    for (int64_t j = 0; j < count; ++j) {
      const float value = static_cast<float>(from[j]);
      const float absolute = std::fabs(value);
      columns.sum[j] += value;
      columns.square[j] += value * value;
      columns.absolute[j] += absolute;
      columns.largest[j] = absolute > columns.largest[j] ? absolute : columns.largest[j];
    }
  }
}

float* Data(const at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr; }

template <typename T>
void AddOnCpu(const T* x, int64_t sequences, int64_t length, int64_t features, const ColumnSums& sums) {
  float* square = Data(sums.square_sum);
  float* absolute = Data(sums.absolute_sum);
  float* largest = Data(sums.absolute_max);
  float* sum = Data(sums.sum);
  float* variance = Data(sums.variance_sum);
  at::parallel_for(0, (features + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
    Columns columns;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task * kColumns, count = std::min(kColumns, features - first);
      for (int64_t sequence = 0; sequence < sequences; ++sequence) {
        columns = {};
        SumColumns(x + sequence * length * features + first, length, features, count, columns);
        for (int64_t j = 0; j < count; ++j) {
          const int64_t column = first + j;
          if (square) square[column] += columns.square[j];
          if (absolute) absolute[column] += columns.absolute[j];
          if (largest) largest[column] = std::max(largest[column], columns.largest[j]);
          if (sum) sum[column] += columns.sum[j];
          if (variance && length > 1) {
            const double n = static_cast<double>(length), total = columns.sum[j];
            const double within = std::max(0.0, columns.square[j] - total * total / n) / (n - 1.0);
            variance[column] += static_cast<float>(n * within);
          }
        }
      }
    }
  });
}

void AddOnDevice(const at::Tensor& x, ColumnSums& sums) {
  for (int64_t sequence = 0; sequence < x.size(0); ++sequence) {
    const at::Tensor rows = x.select(0, sequence).to(at::kFloat);
    if (sums.square_sum.defined()) sums.square_sum.add_(rows.square().sum(0));
    if (sums.absolute_sum.defined()) sums.absolute_sum.add_(rows.abs().sum(0));
    if (sums.absolute_max.defined()) sums.absolute_max.copy_(at::maximum(sums.absolute_max, rows.abs().amax(0)));
    if (sums.sum.defined()) sums.sum.add_(rows.sum(0));
    if (sums.variance_sum.defined() && rows.size(0) > 1) {
      sums.variance_sum.add_(at::var(rows, {0}, /*correction=*/1), static_cast<double>(rows.size(0)));
    }
  }
}

}  // namespace

void AddColumnSums(const at::Tensor& x, ColumnSums& sums) {
  if (!x.is_cpu()) return AddOnDevice(x, sums);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "AddColumnSums", [&] {
    AddOnCpu(x.const_data_ptr<scalar_t>(), x.size(0), x.size(1), x.size(2), sums);
  });
}

}  // namespace calipress::tensor
