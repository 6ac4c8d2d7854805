// checkpoint::DequantizeSpqrRows: the one decoder, for the solver's own result and for files.
#include <cmath>
#include <cstring>

#include "compress/checkpoint/spqr_layout.h"

namespace calipress::checkpoint {
namespace {

uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Bf16 {
  using Stored = uint16_t;
  static float Load(Stored stored) { return FloatOf(static_cast<uint32_t>(stored) << 16); }
  static Stored Round(float value) {
    const uint32_t bits = BitsOf(value);
    if (std::isnan(value)) return 0x7fc0;
    return static_cast<Stored>((bits + (0x7fffu + ((bits >> 16) & 1u))) >> 16);
  }
};

struct F16 {
  using Stored = uint16_t;
  static float Load(Stored stored) {
    const uint32_t sign = static_cast<uint32_t>(stored & 0x8000u) << 16;
    const uint32_t exponent = (stored >> 10) & 0x1fu, mantissa = stored & 0x3ffu;
    if (exponent == 31) return FloatOf(sign | 0x7f800000u | (mantissa << 13));
    if (exponent == 0) {
      const float value = std::ldexp(static_cast<float>(mantissa), -24);
      return sign == 0 ? value : -value;
    }
    return FloatOf(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  }
  static Stored Round(float value) {
    const uint32_t bits = BitsOf(value);
    const auto sign = static_cast<Stored>((bits >> 16) & 0x8000u);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (std::isnan(value)) return 0x7e00;
    if (magnitude < 0x38800000u) {
      // Below 2^-14: multiples of 2^-24, the last place of [0.5, 1).
      return sign | static_cast<Stored>(BitsOf(FloatOf(magnitude) + 0.5f) - BitsOf(0.5f));
    }
    const uint32_t rounded = magnitude + (0xfffu + ((magnitude >> 13) & 1u));
    if (rounded >= 0x47800000u) return sign | static_cast<Stored>(0x7c00);
    return sign | static_cast<Stored>((rounded - 0x38000000u) >> 13);
  }
};

struct F32 {
  using Stored = float;
  static float Load(Stored stored) { return stored; }
  static Stored Round(float value) { return value; }
};

template <typename Number>
void Rows(const SpqrView& view, int64_t begin, int64_t end, void* weight) {
  using Stored = typename Number::Stored;
  const int64_t groups = view.Groups(), width = view.scheme.group_size;
  const auto at = [](const void* data, int64_t i) { return Number::Load(static_cast<const Stored*>(data)[i]); };
  for (int64_t row = begin; row < end; ++row) {
    Stored* out = static_cast<Stored*>(weight) + row * view.in;
    const int64_t run = row / view.scheme.scale_group_size * groups;
    const uint8_t* codes = view.codes + row * view.in;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t cell = row * groups + g;
      const float scale =
          SpqrLevel(view.scale_codes[cell], at(view.scale_steps, run + g), at(view.scale_lows, run + g));
      const float zero = SpqrLevel(view.zero_codes[cell], at(view.zero_steps, run + g), at(view.zero_lows, run + g));
      for (int64_t place = g * width; place < (g + 1) * width; ++place) {
        const int64_t column = view.order == nullptr ? place : view.order[place];
        out[column] = Number::Round(scale * (static_cast<float>(codes[place]) - zero));
      }
    }
    for (int32_t i = view.outlier_offsets[row]; i < view.outlier_offsets[row + 1]; ++i) {
      out[view.outlier_columns[i]] = static_cast<const Stored*>(view.outlier_values)[i];
    }
  }
}

}  // namespace

void DequantizeSpqrRows(const SpqrView& view, int64_t begin, int64_t end, void* weight) {
  switch (view.dtype) {
    case Dtype::kBF16:
      return Rows<Bf16>(view, begin, end, weight);
    case Dtype::kF16:
      return Rows<F16>(view, begin, end, weight);
    default:
      return Rows<F32>(view, begin, end, weight);
  }
}

}  // namespace calipress::checkpoint
