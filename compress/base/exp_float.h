#pragma once

#include <cstdint>
#include <cstring>

namespace calipress {

// e^x in fp32 to two units in the last place, for x up to 88; about 1e-38 where e^x is less than that. In operations
// that compilers turn into vectors, and without fused ones the same bits on every processor (polynomial of Cephes'
// expf: Moshier, 1989).
inline __attribute__((always_inline)) float ExpFloat(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: a sum with it has no places after the point
  const float shifted = x * 1.44269504f + kRound;
  const float whole = shifted - kRound;
  const float rest = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
  float sum = 1.9875691500e-4f;
  sum = sum * rest + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = (sum * (rest * rest) + rest) + 1.0f;
  // 2^whole: the low bits of `shifted` are the integer.
  uint32_t exponent;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  exponent = (exponent - 0x4b400000u + 127u) << 23;
  float power;
  std::memcpy(&power, &exponent, sizeof power);
  return sum * power;
}

}  // namespace calipress
