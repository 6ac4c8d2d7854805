#pragma once

#include <cstdint>
#include <cstring>

// Row loops compiled for several instruction sets and chosen once at run time, so that one binary is fast everywhere.
// A kernel is a struct with `static void Run(args...)` marked CALIPRESS_INLINE; the helpers that it calls are too.
#define CALIPRESS_INLINE inline __attribute__((always_inline))

namespace calipress::model {

#if defined(__x86_64__)
template <typename Kernel, typename... Args>
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512"))) void RunAvx512(
    Args... args) {
  Kernel::Run(args...);
}

template <typename Kernel, typename... Args>
__attribute__((target("avx2,fma"))) void RunAvx2(Args... args) {
  Kernel::Run(args...);
}
#endif

template <typename Kernel, typename... Args>
void RunKernel(Args... args) {
#if defined(__x86_64__)
  static const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx512) return RunAvx512<Kernel, Args...>(args...);
  if (avx2) return RunAvx2<Kernel, Args...>(args...);
#endif
  Kernel::Run(args...);
}

CALIPRESS_INLINE uint32_t FloatBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
CALIPRESS_INLINE float FloatFromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// An IEEE half's bits; where a row of uint16_t is bf16.
struct F16Bits {
  uint16_t bits;
};

// Rows hold fp32 as float and bf16 as its upper 16 bits; arithmetic is in fp32, rounded to the row's type by Round.
CALIPRESS_INLINE float Widen(float x) { return x; }
CALIPRESS_INLINE float Widen(uint16_t x) { return FloatFromBits(static_cast<uint32_t>(x) << 16); }
CALIPRESS_INLINE float Widen(F16Bits x) {
  const uint32_t sign = (x.bits & 0x8000u) << 16;
  const uint32_t magnitude = (x.bits & 0x7fffu) << 13;  // with fp32's exponent too small by 112
  const uint32_t scaled = FloatBits(FloatFromBits(magnitude) * 0x1p112f);
  const bool special = (x.bits & 0x7c00u) == 0x7c00u;  // infinite or NaN
  return FloatFromBits(sign | (special ? magnitude | 0x7f800000u : scaled));
}

// To nearest, ties to even, as c10::BFloat16; NaN stays NaN.
CALIPRESS_INLINE void Narrow(float x, uint16_t* out) {
  const uint32_t bits = FloatBits(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  *out = (bits & 0x7fffffffu) > 0x7f800000u ? uint16_t{0x7fc0} : static_cast<uint16_t>(rounded);
}
CALIPRESS_INLINE void Narrow(float x, float* out) { *out = x; }
// To nearest, ties to even. Below 2^-14 halves are multiples of 2^-24, the last place of [0.5, 1).
CALIPRESS_INLINE void Narrow(float x, F16Bits* out) {
  const uint32_t bits = FloatBits(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  const uint32_t small = FloatBits(FloatFromBits(magnitude) + 0.5f) - FloatBits(0.5f);
  uint32_t half = magnitude < 0x38800000u ? small : normal;
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;  // 65520 and above
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  out->bits = static_cast<uint16_t>(sign | half);
}

// `x` as it would be after a store to T and a load.
template <typename T>
CALIPRESS_INLINE float RoundTo(float x) {
  T stored;
  Narrow(x, &stored);
  return Widen(stored);
}

}  // namespace calipress::model
