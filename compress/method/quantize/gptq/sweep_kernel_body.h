// The sweep's inner loops on vectors of kLanes floats. Included once by each sweep_<instruction set>.cc, inside a
// namespace of its own, after a target pragma and the constants kLanes and kVectors. Uses the compiler's vector types
// (gcc and clang) and nothing of the standard library: an inline function from there, compiled here, might be the copy
// that the linker keeps for everyone.

typedef float Vector __attribute__((vector_size(kLanes * 4), may_alias));
typedef uint32_t Words __attribute__((vector_size(kLanes * 4), may_alias));
typedef int32_t Mask __attribute__((vector_size(kLanes * 4), may_alias));

inline Vector Load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void Store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline Vector Select(Mask mask, Vector a, Vector b) {
  return reinterpret_cast<Vector>((reinterpret_cast<Mask>(a) & mask) | (reinterpret_cast<Mask>(b) & ~mask));
}

// Halves to even; for |x| below 2^22.
inline Vector RoundToInteger(Vector x) {
  const float shift = 12582912.0f;  // 1.5 * 2^23
  return (x + shift) - shift;
}

inline Vector RoundToBf16(Vector x) {
  Words bits = reinterpret_cast<Words>(x);
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return reinterpret_cast<Vector>(bits & 0xffff0000u);
}

// Grids keep multiples finite in f16. Below 2^-14 numbers are multiples of 2^-24, the last place of [0.5, 1).
inline Vector RoundToF16(Vector x) {
  Words bits = reinterpret_cast<Words>(x);
  Words rounded = (bits + (0xfffu + ((bits >> 13) & 1u))) & 0xffffe000u;
  const float shift = 0.75f;
  Vector subnormal = (x + shift) - shift;
  Mask small = reinterpret_cast<Mask>(bits & 0x7fffffffu) < 0x38800000;
  return Select(small, subnormal, reinterpret_cast<Vector>(rounded));
}

void Feed(const float* error, const float* feedback, int64_t count, float* target) {
  for (int row = 0; row < kTileRows; row += kLanes * kVectors) {
    Vector sum[kBlockColumns][kVectors];
#pragma GCC unroll 8
    for (int k = 0; k < kBlockColumns; ++k) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[k][v] = Load(target + k * kTileRows + row + v * kLanes);
    }
    const float* from = error + row;
    const float* factor = feedback;
    for (int64_t j = 0; j < count; ++j) {
      Vector e[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) e[v] = Load(from + v * kLanes);
#pragma GCC unroll 8
      for (int k = 0; k < kBlockColumns; ++k) {
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[k][v] += factor[k] * e[v];
      }
      from += kTileRows;
      factor += kBlockColumns;
    }
#pragma GCC unroll 8
    for (int k = 0; k < kBlockColumns; ++k) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) Store(target + k * kTileRows + row + v * kLanes, sum[k][v]);
    }
  }
}

// The largest finite number of the dtype.
inline float Largest(Rounding rounding) {
  return rounding == Rounding::kF16 ? 65504.0f : rounding == Rounding::kBf16 ? 0x1.fep127f : 0x1.fffffep127f;
}

template <Rounding rounding>
inline Vector Round(Vector value) {
  if (rounding == Rounding::kBf16) return RoundToBf16(value);
  if (rounding == Rounding::kF16) return RoundToF16(value);
  return value;
}

inline Vector Clamp(Vector value, Vector low, Vector high) {
  value = Select(value > low, value, low);  // NaN becomes the smallest
  return Select(value < high, value, high);
}

template <Rounding rounding, bool masked, bool gridded>
inline void SweepAs(const SweepBlock& block) {
  const Vector zero = {};
  for (int row = 0; row < kTileRows; row += kLanes * kVectors) {
    Vector loss[kVectors], shift[kVectors];
    Vector target[kBlockColumns][kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      loss[v] = Load(block.loss + row + v * kLanes);
      shift[v] = Load(block.shift + row + v * kLanes);
    }
#pragma GCC unroll 8
    for (int k = 0; k < kBlockColumns; ++k) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) target[k][v] = Load(block.target + k * kTileRows + row + v * kLanes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kBlockColumns; ++i) {
      if (i < block.begin || i >= block.end) continue;
      Vector error[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const int at = row + v * kLanes;
        Vector multiple, value;
        if (gridded) {
          const Vector scale = Load(block.scale[i] + at);
          multiple = Clamp(target[i][v] / scale, Load(block.low[i] + at), Load(block.high[i] + at));
          multiple = RoundToInteger(multiple);
          if (masked) multiple *= Load(block.keep + i * kTileRows + at);  // finite: limits have bounded it
          value = Round<rounding>(multiple * scale);
        } else {
          const Vector largest = zero + Largest(rounding);
          value = Round<rounding>(Clamp(target[i][v], -largest, largest));
          if (masked) value = Select(Load(block.keep + i * kTileRows + at) > zero, value, zero);  // no -0
          multiple = value;
        }
        error[v] = Load(block.weight + i * kTileRows + at) - value;
        const Vector residual = (target[i][v] - value) * block.pivot[i];
        loss[v] += residual * residual;
        shift[v] += error[v] * error[v];
        Store(block.error + i * kTileRows + at, error[v]);
        Store(block.multiple + i * kTileRows + at, multiple);
      }
#pragma GCC unroll 8
      for (int k = i + 1; k < kBlockColumns; ++k) {
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) target[k][v] += block.feedback[i * kBlockColumns + k] * error[v];
      }
    }
#pragma GCC unroll 8
    for (int k = 0; k < kBlockColumns; ++k) {
      if (k < block.end) continue;
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) Store(block.target + k * kTileRows + row + v * kLanes, target[k][v]);
    }
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      Store(block.loss + row + v * kLanes, loss[v]);
      Store(block.shift + row + v * kLanes, shift[v]);
    }
  }
}

template <bool masked, bool gridded>
inline void SweepRounded(const SweepBlock& block) {
  switch (block.rounding) {
    case Rounding::kBf16:
      return SweepAs<Rounding::kBf16, masked, gridded>(block);
    case Rounding::kF16:
      return SweepAs<Rounding::kF16, masked, gridded>(block);
    case Rounding::kNone:
      return SweepAs<Rounding::kNone, masked, gridded>(block);
  }
}

void Sweep(const SweepBlock& block) {
  if (block.scale[0] == nullptr) {
    return block.keep == nullptr ? SweepRounded<false, false>(block) : SweepRounded<true, false>(block);
  }
  block.keep == nullptr ? SweepRounded<false, true>(block) : SweepRounded<true, true>(block);
}
