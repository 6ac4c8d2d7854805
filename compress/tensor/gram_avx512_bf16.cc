#include "compress/tensor/gram_avx512_bf16.h"

#include <algorithm>
#include <vector>

#include "compress/tensor/aligned_buffer.h"
#include "compress/tensor/bf16_tile.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::tensor {
namespace {

// 512 tokens: a right panel is 32 KiB and a left one 12 KiB; eight right panels stay in the second cache while left
// panels pass through the first.
constexpr int64_t kPairs = 256;
constexpr int64_t kItemTiles = 8;   // an item of work: 8 tiles of rows ...
constexpr int64_t kItemPanels = 8;  // ... by 8 panels of columns
constexpr int64_t kLeftWords = kPairs * kTileRows + kPackSlack;
constexpr int64_t kRightWords = kPairs * kTileColumns;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Item {
  int64_t tile, panel;
};

// Items that touch the lower triangle, column blocks outermost so that neighbours share right panels.
std::vector<Item> TriangleItems(int64_t features) {
  const int64_t tiles = CeilDiv(features, kTileRows), panels = CeilDiv(features, kTileColumns);
  std::vector<Item> items;
  for (int64_t panel = 0; panel < panels; panel += kItemPanels) {
    for (int64_t tile = 0; tile < tiles; tile += kItemTiles) {
      const int64_t last_row = std::min((tile + kItemTiles) * kTileRows, features) - 1;
      if (last_row >= panel * kTileColumns) items.push_back({tile, panel});
    }
  }
  return items;
}

void MultiplyItem(const Item& item, const uint32_t* left, const uint32_t* right, int64_t pairs, int64_t features,
                  float* sum) {
  const int64_t tile_end = std::min(item.tile + kItemTiles, CeilDiv(features, kTileRows));
  const int64_t panel_end = std::min(item.panel + kItemPanels, CeilDiv(features, kTileColumns));
  for (int64_t tile = item.tile; tile < tile_end; ++tile) {
    const int64_t row = tile * kTileRows;
    const int rows = static_cast<int>(std::min<int64_t>(kTileRows, features - row));
    for (int64_t panel = item.panel; panel < panel_end; ++panel) {
      const int64_t column = panel * kTileColumns;
      if (column >= row + rows) break;  // above the diagonal
      const int columns = static_cast<int>(std::min<int64_t>(kTileColumns, features - column));
      MultiplyTile(left + tile * kLeftWords, right + panel * kRightWords, pairs, rows, columns,
                   sum + row * features + column, features);
    }
  }
}

}  // namespace

void AccumulateGramAvx512Bf16(const uint16_t* x, int64_t tokens, int64_t features, float* sum) {
  const int64_t tiles = CeilDiv(features, kTileRows), panels = CeilDiv(features, kTileColumns);
  auto left = MakeAlignedBuffer<uint32_t>(tiles * kLeftWords);
  auto right = MakeAlignedBuffer<uint32_t>(panels * kRightWords);
  const std::vector<Item> items = TriangleItems(features);
  for (int64_t t = 0; t < tokens; t += 2 * kPairs) {
    const uint16_t* block = x + t * features;
    const int64_t rows = std::min(2 * kPairs, tokens - t);
    const int64_t pairs = (rows + 1) / 2;
    ForEachItem(tiles, [&](int64_t tile) {
      PackLeft(block, features, rows, tile * kTileRows, features, left.get() + tile * kLeftWords);
    });
    ForEachItem(panels, [&](int64_t panel) {
      PackRight(block, features, rows, panel * kTileColumns, features, right.get() + panel * kRightWords);
    });
    ForEachItem(static_cast<int64_t>(items.size()),
                [&](int64_t item) { MultiplyItem(items[item], left.get(), right.get(), pairs, features, sum); });
  }
}

}  // namespace calipress::tensor
