#include "compress/tensor/quadratic_form.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/square.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>

#include "compress/tensor/aligned_buffer.h"
#include "compress/tensor/bf16_tile.h"
#include "compress/tensor/cpu_features.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::tensor {
namespace {

constexpr int64_t kItemPanels = 8;    // right panels of one item of work: 256 rows of weights
constexpr int64_t kBlockPairs = 256;  // 512 columns: eight right panels of them stay in the second cache

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

uint32_t Bf16Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

// A pair of rows of a tile that lies off the diagonal.
void FoldPair(const float* first, const float* second, uint32_t* out) {
  for (int lane = 0; lane < kTileRows; ++lane) {
    out[lane] = Bf16Bits(2.0f * first[lane]) | Bf16Bits(2.0f * second[lane]) << 16;
  }
}

// The matrix as left tiles, folded into its part with j <= i: twice the entries off the diagonal. Tile i has pairs of
// rows j up to its last column only.
struct FoldedMatrix {
  explicit FoldedMatrix(const at::Tensor& matrix) : n(matrix.size(0)), tiles(CeilDiv(n, kTileRows)) {
    words = MakeAlignedBuffer<uint32_t>(Offset(tiles));
    const float* data = matrix.const_data_ptr<float>();
    ForEachItem(tiles, [&](int64_t tile) {
      uint32_t* out = words.get() + Offset(tile);
      const int64_t i0 = tile * kTileRows;
      int64_t j = 0;
      if (i0 + kTileRows <= n) {
        for (; j + 2 <= i0; j += 2, out += kTileRows) FoldPair(data + j * n + i0, data + (j + 1) * n + i0, out);
      }
      for (; j < 2 * Pairs(tile); j += 2) {
        for (int64_t lane = 0; lane < kTileRows; ++lane) {
          const int64_t i = i0 + lane;
          auto entry = [&](int64_t row) -> float {
            if (i >= n || row > i) return 0.0f;
            return row == i ? data[row * n + i] : 2.0f * data[row * n + i];
          };
          *out++ = Bf16Bits(entry(j)) | Bf16Bits(entry(j + 1)) << 16;
        }
      }
    });
  }
  int64_t Pairs(int64_t tile) const { return (tile + 1) * kTileRows / 2; }
  int64_t Offset(int64_t tile) const { return tile * (tile + 1) / 2 * (kTileRows / 2) * kTileRows; }

  int64_t n, tiles;
  AlignedBuffer<uint32_t> words;
};

// Rows [row, row + 32) of a bf16 weight as a right panel: pairs of neighbouring columns, transposed.
void PackRows(const uint16_t* weight, int64_t rows, int64_t n, int64_t row, int64_t pairs, uint32_t* out) {
  std::fill(out, out + pairs * kTileColumns, 0u);
  const int64_t count = std::min<int64_t>(kTileColumns, rows - row);
  constexpr int64_t kPiece = 16;  // pairs: what is read and what is written both stay in the first cache
  for (int64_t first = 0; first < n / 2; first += kPiece) {
    const int64_t last = std::min(n / 2, first + kPiece);
    for (int64_t r = 0; r < count; ++r) {
      const uint16_t* source = weight + (row + r) * n;
      for (int64_t p = first; p < last; ++p) {
        uint32_t pair;
        std::memcpy(&pair, source + 2 * p, sizeof(pair));
        out[p * kTileColumns + r] = pair;
      }
    }
  }
  if (n % 2 == 0) return;
  for (int64_t r = 0; r < count; ++r) out[(n / 2) * kTileColumns + r] = weight[(row + r) * n + n - 1];
}

// Sum of w S w' over rows [row, row + 256).
double FormOfRows(const uint16_t* weight, int64_t rows, int64_t row, const FoldedMatrix& matrix) {
  const int64_t panels = std::min(kItemPanels, CeilDiv(rows - row, kTileColumns));
  const int64_t pairs = matrix.Pairs(matrix.tiles - 1);
  auto right = MakeAlignedBuffer<uint32_t>(panels * pairs * kTileColumns);
  for (int64_t panel = 0; panel < panels; ++panel) {
    PackRows(weight, rows, matrix.n, row + panel * kTileColumns, pairs, right.get() + panel * pairs * kTileColumns);
  }
  constexpr int64_t kTileSize = kTileRows * kTileColumns;
  auto sums = MakeAlignedBuffer<float>(matrix.tiles * panels * kTileSize);
  std::fill(sums.get(), sums.get() + matrix.tiles * panels * kTileSize, 0.0f);
  for (int64_t p = 0; p < pairs; p += kBlockPairs) {
    for (int64_t tile = 0; tile < matrix.tiles; ++tile) {
      const int64_t count = std::min(kBlockPairs, matrix.Pairs(tile) - p);
      if (count <= 0) continue;
      for (int64_t panel = 0; panel < panels; ++panel) {
        MultiplyTile(matrix.words.get() + matrix.Offset(tile) + p * kTileRows,
                     right.get() + (panel * pairs + p) * kTileColumns, count, kTileRows, kTileColumns,
                     sums.get() + (tile * panels + panel) * kTileSize, kTileColumns);
      }
    }
  }
  double total = 0.0;
  for (int64_t panel = 0; panel < panels; ++panel) {
    float lanes[kTileColumns] = {};
    const uint32_t* packed = right.get() + panel * pairs * kTileColumns;
    for (int64_t tile = 0; tile < matrix.tiles; ++tile) {
      const float* sum = sums.get() + (tile * panels + panel) * kTileSize;
      for (int64_t i = 0; i < kTileRows; ++i) {
        const int64_t column = tile * kTileRows + i;
        for (int64_t r = 0; r < kTileColumns; ++r) {
          const uint32_t pair = packed[column / 2 * kTileColumns + r];
          const uint32_t bits = column % 2 == 0 ? pair << 16 : pair & 0xffff0000u;
          float value;
          std::memcpy(&value, &bits, sizeof(value));
          lanes[r] += value * sum[i * kTileColumns + r];
        }
      }
    }
    total += std::accumulate(lanes, lanes + kTileColumns, 0.0);
  }
  return total;
}

double FormInFloat(const at::Tensor& weight, const at::Tensor& matrix) {
  constexpr int64_t kRows = 512;
  double total = 0.0;
  for (int64_t row = 0; row < weight.size(0); row += kRows) {
    at::Tensor part = weight.narrow(0, row, std::min(kRows, weight.size(0) - row)).to(at::kFloat);
    total += at::mm(part, matrix).mul_(part).sum(at::kDouble).item<double>();
  }
  return total;
}

}  // namespace

std::vector<double> QuadraticForms(const std::vector<at::Tensor>& weights, const at::Tensor& matrix) {
  std::vector<double> forms(weights.size(), 0.0);
  if (!matrix.is_cpu() || !CpuHasFastAvx512Bf16()) {
    for (size_t w = 0; w < weights.size(); ++w) forms[w] = FormInFloat(weights[w], matrix);
    return forms;
  }
  const FoldedMatrix folded(matrix);
  struct Item {
    size_t weight;
    int64_t row;
  };
  std::vector<Item> items;
  std::vector<at::Tensor> rounded;
  for (size_t w = 0; w < weights.size(); ++w) {
    rounded.push_back(weights[w].to(at::kBFloat16).contiguous());
    for (int64_t row = 0; row < weights[w].size(0); row += kItemPanels * kTileColumns) items.push_back({w, row});
  }
  std::vector<double> parts(items.size());
  ForEachItem(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const at::Tensor& weight = rounded[items[i].weight];
    parts[i] = FormOfRows(reinterpret_cast<const uint16_t*>(weight.const_data_ptr<at::BFloat16>()), weight.size(0),
                          items[i].row, folded);
  });
  for (size_t i = 0; i < items.size(); ++i) forms[items[i].weight] += parts[i];
  return forms;
}

WeightChange RelativeChange(const at::Tensor& before, const at::Tensor& after) {
  const auto squares = [](const at::Tensor& matrix) { return at::square(matrix).sum(at::kDouble).item<double>(); };
  const at::Tensor from = before.to(at::kFloat);
  const double lost = squares(at::sub(from, after.to(at::kFloat))), total = squares(from);
  return {total > 0.0 ? lost / total : 0.0, total};
}

}  // namespace calipress::tensor
