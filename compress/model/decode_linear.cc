#include "compress/model/decode_linear.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include "compress/model/decode_rows.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::model {
namespace {

// Inputs of a strip: its 32 rows (16 KiB) stay in the first cache while the outputs of an item pass by.
constexpr int64_t kStrip = 128;
constexpr int64_t kItemOutputs = 4 * kTileOutputs;
constexpr int64_t kPackFeatures = 256;  // features that one item turns around

template <typename Body>
void Dispatch(at::ScalarType dtype, const Body& body) {
  switch (dtype) {
    case at::kFloat:
      return body(float());
    case at::kBFloat16:
      return body(uint16_t());
    case at::kHalf:
      return body(F16Bits());
    default:
      TORCH_CHECK(false, "no decoding kernel for this dtype");
  }
}

// The next tile's weights: short runs far apart, which no processor foresees. (Inlined by force: gcc takes a function
// that only prefetches for one without effects, and drops the call.)
template <typename T>
CALIPRESS_INLINE void PrefetchNext(const T* weight, int64_t inputs, int64_t first, int64_t count, int64_t begin,
                                   int64_t output) {
  output += kTileOutputs;
  if (output >= count) {
    output = 0;
    begin += kStrip;
    if (begin >= inputs) return;
  }
  const int64_t size = std::min(kStrip, inputs - begin);
  for (int64_t o = output; o < std::min(output + kTileOutputs, count); ++o) {
    const T* row = weight + (first + o) * inputs + begin;
    for (int64_t k = 0; k < size; k += 64 / sizeof(T)) __builtin_prefetch(row + k);
  }
}

// Outputs [first, first + count), at most kItemOutputs.
template <typename T>
void MultiplyItem(const DecodePack& input, const T* weight, const at::Tensor& bias, const DecodeTile& tile,
                  int64_t first, int64_t count, float* out) {
  const int64_t inputs = input.features;
  alignas(64) float sums[kItemOutputs * kDecodeRows];
  alignas(64) float wide[kTileOutputs * kStrip];
  std::memset(sums, 0, sizeof sums);
  for (int64_t begin = 0; begin < inputs; begin += kStrip) {
    const int64_t size = std::min(kStrip, inputs - begin);
    for (int64_t output = 0; output < count; output += kTileOutputs) {
      const float* factors[kTileOutputs];
      for (int64_t o = 0; o < kTileOutputs; ++o) {
        // The last tile may have fewer outputs: the last one again, whose sums nobody reads.
        const T* row = weight + (first + std::min(output + o, count - 1)) * inputs + begin;
        if constexpr (std::is_same_v<T, float>) {
          factors[o] = row;
        } else {
          WidenRow(row, size, wide + o * kStrip);
          factors[o] = wide + o * kStrip;
        }
      }
      PrefetchNext(weight, inputs, first, count, begin, output);
      tile.add(input.data.get() + begin * kDecodeRows, factors, size, sums + output * kDecodeRows);
    }
  }
  for (int64_t output = 0; output < count; ++output) {
    float* row = sums + output * kDecodeRows;
    const float shift = bias.defined() ? Widen(static_cast<const T*>(bias.const_data_ptr())[first + output]) : 0.0f;
    FinishSums<T>(row, shift, kDecodeRows);
  }
  std::memcpy(out + first * kDecodeRows, sums, count * kDecodeRows * sizeof(float));
}

}  // namespace

bool CanDecode(at::ScalarType dtype, at::Device device) {
  return device.is_cpu() && (dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf);
}

DecodePack PackRows(const at::Tensor& rows) {
  TORCH_CHECK(rows.dim() == 2 && rows.size(0) == kDecodeRows && rows.is_contiguous(), "a step has 32 contiguous rows");
  const int64_t features = rows.size(1);
  DecodePack pack{features, tensor::MakeAlignedBuffer<float>(features * kDecodeRows)};
  Dispatch(rows.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const T* from = static_cast<const T*>(rows.const_data_ptr());
    at::parallel_for(0, (features + kPackFeatures - 1) / kPackFeatures, 4, [&](int64_t begin, int64_t end) {
      const int64_t last = std::min(features, end * kPackFeatures);
      for (int64_t f = begin * kPackFeatures; f < last; ++f) {
        float* to = pack.data.get() + f * kDecodeRows;
        for (int64_t r = 0; r < kDecodeRows; ++r) to[r] = Widen(from[r * features + f]);
      }
    });
  });
  return pack;
}

at::Tensor UnpackRows(const DecodePack& pack, at::ScalarType dtype) {
  const int64_t features = pack.features;
  at::Tensor rows = at::empty({kDecodeRows, features}, dtype);
  Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    T* to = static_cast<T*>(rows.mutable_data_ptr());
    at::parallel_for(0, (features + kPackFeatures - 1) / kPackFeatures, 4, [&](int64_t begin, int64_t end) {
      constexpr int64_t kRun = 16;  // features whose rows are in the first cache together
      const int64_t last = std::min(features, end * kPackFeatures);
      for (int64_t run = begin * kPackFeatures; run < last; run += kRun) {
        const int64_t count = std::min(kRun, last - run);
        for (int64_t r = 0; r < kDecodeRows; ++r) {
          for (int64_t i = 0; i < count; ++i) {
            Narrow(pack.data[(run + i) * kDecodeRows + r], to + r * features + run + i);
          }
        }
      }
    });
  });
  return rows;
}

DecodePack MultiplyRows(const DecodePack& input, const at::Tensor& weight, const at::Tensor& bias,
                        const DecodeTile& tile) {
  TORCH_CHECK(weight.size(1) == input.features && weight.is_contiguous(), "the weight does not fit the rows");
  const int64_t outputs = weight.size(0);
  DecodePack out{outputs, tensor::MakeAlignedBuffer<float>(outputs * kDecodeRows)};
  Dispatch(weight.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const T* data = static_cast<const T*>(weight.const_data_ptr());
    tensor::ForEachItem((outputs + kItemOutputs - 1) / kItemOutputs, [&](int64_t item) {
      const int64_t first = item * kItemOutputs;
      MultiplyItem<T>(input, data, bias, tile, first, std::min(kItemOutputs, outputs - first), out.data.get());
    });
  });
  return out;
}

}  // namespace calipress::model
