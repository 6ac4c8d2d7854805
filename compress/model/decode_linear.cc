#include "compress/model/decode_linear.h"

#include <algorithm>
#include <cstring>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include "compress/model/decode_rows.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::model {
namespace {

constexpr int64_t kItemOutputs = 4 * kTileOutputs;
constexpr int64_t kPackFeatures = 256;  // features that one item turns around

template <typename Body>
void Dispatch(at::ScalarType dtype, const Body& body) {
  if (dtype == at::kFloat) return body(float());
  if (dtype == at::kBFloat16) return body(uint16_t());
  TORCH_CHECK(dtype == at::kHalf, "no decoding kernel for this dtype");
  return body(F16Bits());
}

// A tile of a weight [outputs, inputs]: outputs [output, output + rows), inputs [begin, begin + size).
struct TilePlace {
  int64_t output, begin, rows, size;
};

// Short runs far apart, which no processor foresees.
template <typename T>
void SetLines(const T* weight, int64_t inputs, const TilePlace& tile, LinesAhead* ahead) {
  ahead->count = 0;
  for (int64_t o = 0; o < tile.rows; ++o) {
    const T* row = weight + (tile.output + o) * inputs + tile.begin;
    for (int64_t k = 0; k < tile.size; k += 64 / sizeof(T)) {
      ahead->lines[ahead->count++] = reinterpret_cast<const char*>(row + k);
    }
  }
}

// Outputs [first, first + count), at most kItemOutputs, of all groups of rows. out: [groups][outputs][kDecodeRows].
template <typename T>
void MultiplyItem(const DecodePack& input, const T* weight, const at::Tensor& bias, const DecodeTile& kernel,
                  int64_t first, int64_t count, DecodePack* out) {
  const int64_t inputs = input.features;
  const int64_t tiles = (count + kTileOutputs - 1) / kTileOutputs;
  const int64_t all = tiles * ((inputs + kTileInputs - 1) / kTileInputs);
  const auto place = [&](int64_t index) {
    const int64_t output = index % tiles * kTileOutputs, begin = index / tiles * kTileInputs;
    return TilePlace{first + output, begin, std::min(kTileOutputs, count - output),
                     std::min(kTileInputs, inputs - begin)};
  };
  constexpr int64_t kGroupSums = kItemOutputs * kDecodeRows;
  alignas(64) float sums[kMostDecodeGroups * kGroupSums];
  // A last tile with fewer outputs leaves the others' weights as they are; nobody reads their sums.
  alignas(64) float wide[kTileOutputs * kTileInputs] = {};
  std::memset(sums, 0, input.groups * kGroupSums * sizeof(float));
  for (int64_t index = 0; index < all; ++index) {
    const TilePlace tile = place(index);
    WidenTile(weight + tile.output * inputs + tile.begin, inputs, tile.rows, tile.size, wide);
    LinesAhead ahead;
    if (index + 1 < all) SetLines(weight, inputs, place(index + 1), &ahead);
    for (int64_t group = 0; group < input.groups; ++group) {
      kernel.add(input.group(group) + tile.begin * kDecodeRows, wide, tile.size,
                 sums + group * kGroupSums + (tile.output - first) * kDecodeRows, ahead);
      ahead.count = 0;
    }
  }
  const T* shifts = bias.defined() ? static_cast<const T*>(bias.const_data_ptr()) + first : nullptr;
  for (int64_t group = 0; group < input.groups; ++group) {
    FinishSums(sums + group * kGroupSums, shifts, count, out->group(group) + first * kDecodeRows);
  }
}

}  // namespace

bool CanDecode(at::ScalarType dtype, at::Device device) {
  return device.is_cpu() && (dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf);
}

DecodePack::DecodePack(int64_t groups_, int64_t features_)
    : groups(groups_), features(features_), data(tensor::MakeAlignedBuffer<float>(groups_ * features_ * kDecodeRows)) {
  TORCH_CHECK(groups >= 1 && groups <= kMostDecodeGroups, "a step takes 1 to ", kMostDecodeGroups, " groups of rows");
}

DecodePack PackRows(const at::Tensor& rows) {
  TORCH_CHECK(rows.dim() == 2 && rows.size(0) % kDecodeRows == 0 && rows.is_contiguous(),
              "a step has groups of 32 contiguous rows");
  const int64_t features = rows.size(1);
  DecodePack pack(rows.size(0) / kDecodeRows, features);
  Dispatch(rows.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const T* from = static_cast<const T*>(rows.const_data_ptr());
    const int64_t chunks = (features + kPackFeatures - 1) / kPackFeatures;
    at::parallel_for(0, chunks, 4, [&](int64_t begin, int64_t end) {
      const int64_t last = std::min(features, end * kPackFeatures);
      for (int64_t group = 0; group < pack.groups; ++group) {
        const T* first_row = from + group * kDecodeRows * features;
        for (int64_t f = begin * kPackFeatures; f < last; ++f) {
          float* to = pack.group(group) + f * kDecodeRows;
          for (int64_t r = 0; r < kDecodeRows; ++r) to[r] = Widen(first_row[r * features + f]);
        }
      }
    });
  });
  return pack;
}

at::Tensor UnpackRows(const DecodePack& pack, at::ScalarType dtype) {
  const int64_t features = pack.features;
  at::Tensor rows = at::empty({pack.groups * kDecodeRows, features}, dtype);
  Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    T* to = static_cast<T*>(rows.mutable_data_ptr());
    const int64_t chunks = (features + kPackFeatures - 1) / kPackFeatures;
    at::parallel_for(0, chunks, 4, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * kPackFeatures, last = std::min(features, end * kPackFeatures);
      for (int64_t group = 0; group < pack.groups; ++group) {
        TurnRows(pack.group(group) + first * kDecodeRows, last - first, features,
                 to + group * kDecodeRows * features + first);
      }
    });
  });
  return rows;
}

DecodePack MultiplyRows(const DecodePack& input, const at::Tensor& weight, const at::Tensor& bias,
                        const DecodeTile& tile) {
  TORCH_CHECK(weight.size(1) == input.features && weight.is_contiguous(), "the weight does not fit the rows");
  const int64_t outputs = weight.size(0);
  DecodePack out(input.groups, outputs);
  Dispatch(weight.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const T* data = static_cast<const T*>(weight.const_data_ptr());
    tensor::ForEachItem((outputs + kItemOutputs - 1) / kItemOutputs, [&](int64_t item) {
      const int64_t first = item * kItemOutputs;
      MultiplyItem<T>(input, data, bias, tile, first, std::min(kItemOutputs, outputs - first), &out);
    });
  });
  return out;
}

}  // namespace calipress::model
