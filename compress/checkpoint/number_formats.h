#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "compress/arch/dtype.h"

namespace calipress::checkpoint {

// The numbers of a checkpoint without torch: how each is stored, read into fp32 exactly, and rounded from it, halves to
// even. NaN stays NaN; what is beyond the range becomes infinite.

inline uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float FloatOf(uint32_t bits) {
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

// "fn": no infinities, NaN where exponent and mantissa are all ones.
struct E4m3 {
  static float Load(uint8_t stored) {
    const uint32_t sign = static_cast<uint32_t>(stored & 0x80u) << 24;
    const uint32_t exponent = (stored >> 3) & 0xfu, mantissa = stored & 7u;
    if (exponent == 15 && mantissa == 7) return FloatOf(sign | 0x7fc00000u);
    if (exponent == 0) return FloatOf(sign | BitsOf(static_cast<float>(mantissa) * 0x1p-9f));
    return FloatOf(sign | ((exponent + 120u) << 23) | (mantissa << 20));
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

// work(Bf16()), work(F16()) or, for any other dtype, work(F32()).
template <typename Work>
auto WithNumbers(Dtype dtype, const Work& work) {
  switch (dtype) {
    case Dtype::kBF16:
      return work(Bf16());
    case Dtype::kF16:
      return work(F16());
    default:
      return work(F32());
  }
}

}  // namespace calipress::checkpoint
