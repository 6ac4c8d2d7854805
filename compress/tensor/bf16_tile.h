#pragma once

#include <cstdint>

namespace calipress::tensor {

// Products of bf16 matrices on vdpbf16ps, which multiplies pairs along the inner dimension: element t of pair p is row
// 2p + t. A tile of C is kTileRows x kTileColumns, held in 24 of the 32 vector registers. Only for processors with
// AVX512_BF16.
inline constexpr int kTileRows = 12;
inline constexpr int kTileColumns = 32;
inline constexpr int kPackSlack = 4;  // words that PackLeft may write behind its result

// Columns [column, column + width) of x, from `rows` rows with `stride` elements between them, as pairs:
// out[pair][width]. Columns from `columns` on, and the row that an odd count lacks, are zero. `out` has
// (rows + 1) / 2 * width words, and kPackSlack more for the left side.
void PackLeft(const uint16_t* x, int64_t stride, int64_t rows, int64_t column, int64_t columns, uint32_t* out);
void PackRight(const uint16_t* x, int64_t stride, int64_t rows, int64_t column, int64_t columns, uint32_t* out);

// c[rows x columns] += left' right over `pairs` pairs; rows <= kTileRows, columns <= kTileColumns.
void MultiplyTile(const uint32_t* left, const uint32_t* right, int64_t pairs, int rows, int columns, float* c,
                  int64_t stride);

}  // namespace calipress::tensor
