#include <algorithm>
#include <vector>

#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::checkpoint {
namespace {

// Widths that divide a byte or fill it: every code lies in one byte, whatever its place in the row.
template <int kBits>
void PackWhole(const int8_t* codes, int64_t columns, uint32_t* words) {
  constexpr int kPerWord = 32 / kBits;
  constexpr uint32_t kMask = (1u << kBits) - 1;
  constexpr int kOffset = 1 << (kBits - 1);
  for (int64_t begin = 0; begin < columns; begin += kPerWord) {
    const int64_t count = std::min<int64_t>(kPerWord, columns - begin);
    uint32_t word = 0;
    for (int64_t i = 0; i < count; ++i) {
      word |= (static_cast<uint32_t>(codes[begin + i] + kOffset) & kMask) << (i * kBits);
    }
    *words++ = word;
  }
}

template <int kBits>
void UnpackWhole(const uint32_t* words, int64_t columns, int8_t* codes) {
  constexpr int kPerWord = 32 / kBits;
  constexpr uint32_t kMask = (1u << kBits) - 1;
  constexpr int kOffset = 1 << (kBits - 1);
  for (int64_t begin = 0; begin < columns; begin += kPerWord) {
    const int64_t count = std::min<int64_t>(kPerWord, columns - begin);
    const uint32_t word = *words++;
    for (int64_t i = 0; i < count; ++i) {
      codes[begin + i] = static_cast<int8_t>(static_cast<int>(word >> (i * kBits) & kMask) - kOffset);
    }
  }
}

// Any width: a little-endian bit stream in which codes cross words.
void PackStream(const int8_t* codes, int64_t columns, int bits, uint32_t* words) {
  const uint32_t mask = (1u << bits) - 1;
  uint64_t pending = 0;
  int filled = 0;
  for (int64_t i = 0; i < columns; ++i) {
    pending |= static_cast<uint64_t>(static_cast<uint32_t>(codes[i] + (1 << (bits - 1))) & mask) << filled;
    filled += bits;
    if (filled >= 32) {
      *words++ = static_cast<uint32_t>(pending);
      pending >>= 32;
      filled -= 32;
    }
  }
  if (filled > 0) *words = static_cast<uint32_t>(pending);
}

void UnpackStream(const uint32_t* words, int64_t columns, int bits, int8_t* codes) {
  uint64_t pending = 0;
  int filled = 0;
  for (int64_t i = 0; i < columns; ++i) {
    if (filled < bits) {
      pending |= static_cast<uint64_t>(*words++) << filled;
      filled += 32;
    }
    codes[i] = static_cast<int8_t>(static_cast<int>(pending & ((1u << bits) - 1)) - (1 << (bits - 1)));
    pending >>= bits;
    filled -= bits;
  }
}

}  // namespace

int64_t PackedWords(int64_t columns, int bits) { return (columns * bits + 31) / 32; }

void PackRows(const int8_t* codes, int64_t rows, int64_t columns, int bits, int32_t* words) {
  const int64_t per_row = PackedWords(columns, bits);
  for (int64_t row = 0; row < rows; ++row) {
    const int8_t* from = codes + row * columns;
    auto* to = reinterpret_cast<uint32_t*>(words + row * per_row);
    switch (bits) {
      case 2:
        PackWhole<2>(from, columns, to);
        break;
      case 4:
        PackWhole<4>(from, columns, to);
        break;
      case 8:
        PackWhole<8>(from, columns, to);
        break;
      default:
        PackStream(from, columns, bits, to);
    }
  }
}

void UnpackRows(const int32_t* words, int64_t rows, int64_t columns, int bits, int8_t* codes) {
  const int64_t per_row = PackedWords(columns, bits);
  for (int64_t row = 0; row < rows; ++row) {
    const auto* from = reinterpret_cast<const uint32_t*>(words + row * per_row);
    int8_t* to = codes + row * columns;
    switch (bits) {
      case 2:
        UnpackWhole<2>(from, columns, to);
        break;
      case 4:
        UnpackWhole<4>(from, columns, to);
        break;
      case 8:
        UnpackWhole<8>(from, columns, to);
        break;
      default:
        UnpackStream(from, columns, bits, to);
    }
  }
}

void PackColumns(const int8_t* codes, int64_t rows, int64_t columns, int bits, int32_t* words) {
  const int64_t per_column = PackedWords(rows, bits);
  std::vector<int8_t> column(rows);
  std::vector<int32_t> packed(per_column);
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) column[i] = codes[i * columns + j];
    PackRows(column.data(), 1, rows, bits, packed.data());
    for (int64_t k = 0; k < per_column; ++k) words[k * columns + j] = packed[k];
  }
}

void UnpackColumns(const int32_t* words, int64_t rows, int64_t columns, int bits, int8_t* codes) {
  const int64_t per_column = PackedWords(rows, bits);
  std::vector<int8_t> column(rows);
  std::vector<int32_t> packed(per_column);
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t k = 0; k < per_column; ++k) packed[k] = words[k * columns + j];
    UnpackRows(packed.data(), 1, rows, bits, column.data());
    for (int64_t i = 0; i < rows; ++i) codes[i * columns + j] = column[i];
  }
}

std::vector<TensorPlan> PackedLinearPlan(std::string_view module, int64_t out, int64_t in,
                                         const QuantizationScheme& scheme, Dtype scale_dtype) {
  const std::string name(module);
  const int64_t groups = scheme.Groups(in);
  std::vector<TensorPlan> plan = {
      {name + ".weight_packed", Dtype::kI32, {out, PackedWords(in, scheme.bits)}},
      {name + ".weight_scale", scale_dtype, {out, groups}},
      {name + ".weight_shape", Dtype::kI64, {2}},
  };
  // A symmetric checkpoint with zero points is refused by vLLM.
  if (!scheme.symmetric) {
    plan.push_back({name + ".weight_zero_point", Dtype::kI32, {PackedWords(out, scheme.bits), groups}});
  }
  return plan;
}

}  // namespace calipress::checkpoint
