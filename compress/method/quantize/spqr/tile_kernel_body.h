// SpQR's inner loops on vectors of kLanes floats. Included once by each tile_<instruction set>.cc, inside a namespace
// of its own, after a target pragma and the constant kLanes. Uses the compiler's vector types (gcc and clang) and
// nothing of the standard library, as gptq/sweep_kernel_body.h and for its reason.

typedef float Vector __attribute__((vector_size(kLanes * 4), may_alias));
typedef uint32_t Words __attribute__((vector_size(kLanes * 4), may_alias));
typedef int32_t Mask __attribute__((vector_size(kLanes * 4), may_alias));

inline Vector Load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void Store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline Vector Fill(float value) { return Vector{} + value; }
inline Vector Select(Mask mask, Vector a, Vector b) {
  return reinterpret_cast<Vector>((reinterpret_cast<Mask>(a) & mask) | (reinterpret_cast<Mask>(b) & ~mask));
}
inline Vector Smaller(Vector a, Vector b) { return Select(a < b, a, b); }
inline Vector Larger(Vector a, Vector b) { return Select(a > b, a, b); }
inline Vector Absolute(Vector x) { return reinterpret_cast<Vector>(reinterpret_cast<Mask>(x) & 0x7fffffff); }
// NaN becomes -limit.
inline Vector Clamp(Vector x, float limit) { return Smaller(Larger(x, Fill(-limit)), Fill(limit)); }

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

// Above f16's range the result is 65536 or more. Below 2^-14 numbers are multiples of 2^-24, the last place of
// [0.5, 1).
inline Vector RoundToF16(Vector x) {
  Words bits = reinterpret_cast<Words>(x);
  Words rounded = (bits + (0xfffu + ((bits >> 13) & 1u))) & 0xffffe000u;
  const float shift = 0.75f;
  Vector subnormal = (x + shift) - shift;
  Mask small = reinterpret_cast<Mask>(bits & 0x7fffffffu) < 0x38800000;
  return Select(small, subnormal, reinterpret_cast<Vector>(rounded));
}

template <Rounding rounding>
inline Vector Round(Vector x) {
  if (rounding == Rounding::kBf16) return RoundToBf16(x);
  if (rounding == Rounding::kF16) return RoundToF16(x);
  return x;
}

void Compensate(const CompensateBlock& block) {
  for (int row = 0; row < kTileRows; row += kLanes) {
    Vector current[kBlockColumns];
#pragma GCC unroll 8
    for (int k = 0; k < kBlockColumns; ++k) current[k] = Load(block.current + k * kTileRows + row);
#pragma GCC unroll 8
    for (int i = 0; i < kBlockColumns; ++i) {
      const Vector value = Clamp(current[i], block.limit);
      const Vector shift = Load(block.weight + i * kTileRows + row) - value;
      Store(block.current + i * kTileRows + row, value);
      Store(block.shift + i * kTileRows + row, shift);
#pragma GCC unroll 8
      for (int k = i + 1; k < kBlockColumns; ++k) current[k] += block.feedback[i * kBlockColumns + k] * shift;
    }
  }
}

// A min-max grid with a zero point that is no integer.
struct FloatGrid {
  Vector scale, zero, levels;
  FloatGrid(Vector low, Vector high, float top) : levels(Fill(top)) {
    // One value alone: any scale has it on the grid, as code 0.
    scale = Select(high > low, (high - low) / levels, Fill(1.0f));
    zero = -low / scale;
  }
  Vector Error(Vector value) const {
    const Vector code = RoundToInteger(Smaller(Larger(value / scale + zero, Vector{}), levels));
    return scale * (code - zero) - value;
  }
};

// The widest of the ranges share * [low, high] with the least error.
void Shrink(const GroupFit& group, int row) {
  const Vector low = Load(group.low + row), high = Load(group.high + row), cap = Fill(group.cap);
  Vector best = Fill(__builtin_inff()), best_share = Fill(1.0f);
  for (int step = 0; step < 80; ++step) {
    const Vector share = Fill(1.0f - 0.01f * static_cast<float>(step));
    const FloatGrid grid(low * share, high * share, group.levels);
    Vector sum{};
    for (int64_t k = 0; k < group.width; ++k) {
      const Vector error = grid.Error(Load(group.values + k * kTileRows + row));
      sum += Smaller(error * error * Fill(group.sensitivity[k]), cap);
    }
    best_share = Select(sum < best, share, best_share);
    best = Smaller(best, sum);
  }
  Store(group.low + row, low * best_share);
  Store(group.high + row, high * best_share);
}

void FitRange(const GroupFit& group) {
  const float huge = 3.402823466e38f;
  const bool search = group.threshold < huge;
  for (int row = 0; row < kTileRows; row += kLanes) {
    const float* values = group.values + row;
    // The smallest and the second smallest, a value that occurs twice counting twice; the largest likewise.
    Vector low = Fill(huge), next_low = Fill(huge), high = Fill(-huge), next_high = Fill(-huge);
    for (int64_t k = 0; k < group.width; ++k) {
      const Vector value = Load(values + k * kTileRows);
      next_low = Smaller(next_low, Larger(low, value));
      low = Smaller(low, value);
      next_high = Larger(next_high, Smaller(high, value));
      high = Larger(high, value);
    }
    if (!search) {
      Store(group.low + row, low);
      Store(group.high + row, high);
      continue;
    }
    // Leaving one weight out changes the grid only where it alone is the smallest or the largest. For all others the
    // gain is their own error.
    const FloatGrid grid(low, high, group.levels);
    const FloatGrid without_low(next_low, high, group.levels), without_high(low, next_high, group.levels);
    const Mask low_alone = next_low > low, high_alone = next_high < high;
    Vector all{}, rest_low{}, rest_high{};
    for (int64_t k = 0; k < group.width; ++k) {
      const Vector value = Load(values + k * kTileRows);
      const Vector sensitivity = Fill(group.sensitivity[k]);
      Vector error = grid.Error(value);
      error = error * error * sensitivity;
      all += error;
      Store(group.scratch + k * kTileRows + row, error);
      error = without_low.Error(value);
      rest_low += Select(value > low, error * error * sensitivity, Vector{});
      error = without_high.Error(value);
      rest_high += Select(value < high, error * error * sensitivity, Vector{});
    }
    const Vector low_gain = all - rest_low, high_gain = all - rest_high;
    const Vector threshold = Fill(group.threshold);
    Vector kept_low = Fill(huge), kept_high = Fill(-huge);
    for (int64_t k = 0; k < group.width; ++k) {
      const Vector value = Load(values + k * kTileRows);
      Vector gain = Load(group.scratch + k * kTileRows + row);
      gain = Select((value == low) & low_alone, low_gain, gain);
      gain = Select((value == high) & high_alone, high_gain, gain);
      const Mask outlier = gain > threshold;
      kept_low = Smaller(kept_low, Select(outlier, Fill(huge), value));
      kept_high = Larger(kept_high, Select(outlier, Fill(-huge), value));
    }
    const Mask some = kept_low <= kept_high;
    Store(group.low + row, Select(some, kept_low, Vector{}));
    Store(group.high + row, Select(some, kept_high, Vector{}));
  }
}

void Fit(const GroupFit& group) {
  FitRange(group);
  if (!group.shrink) return;
  for (int row = 0; row < kTileRows; row += kLanes) Shrink(group, row);
}

template <Rounding rounding>
inline void SweepAs(const SweepBlock& block) {
  const Vector levels = Fill(block.levels), threshold = Fill(block.threshold), limit = Fill(block.limit);
  for (int row = 0; row < kTileRows; row += kLanes) {
    Vector loss = Load(block.loss + row), shift = Load(block.shift + row);
    const Vector scale = Load(block.scale + row), zero = Load(block.zero + row);
    Vector target[kBlockColumns];
#pragma GCC unroll 8
    for (int k = 0; k < kBlockColumns; ++k) target[k] = Load(block.target + k * kTileRows + row);
#pragma GCC unroll 8
    for (int i = 0; i < kBlockColumns; ++i) {
      const int at = i * kTileRows + row;
      const Vector wanted = Clamp(target[i], block.limit);
      Vector code = RoundToInteger(Smaller(Larger(wanted / scale + zero, Vector{}), levels));
      Vector value = Round<rounding>(scale * (code - zero));
      Vector residual = (wanted - value) * block.pivot[i];
      const Mask outlier = (residual * residual > threshold) | ~(Absolute(value) <= limit);
      const Vector kept = Round<rounding>(wanted);
      value = Select(outlier, kept, value);
      code = Select(outlier, Fill(-1.0f), code);
      residual = (wanted - value) * block.pivot[i];
      const Vector error = Load(block.weight + at) - value;
      loss += residual * residual;
      if (block.pivot[i] != 0.0f) shift += error * error;
      Store(block.error + at, error);
      Store(block.code + at, code);
      Store(block.kept + at, kept);
#pragma GCC unroll 8
      for (int k = i + 1; k < kBlockColumns; ++k) target[k] += block.feedback[i * kBlockColumns + k] * error;
    }
    Store(block.loss + row, loss);
    Store(block.shift + row, shift);
  }
}

void Sweep(const SweepBlock& block) {
  switch (block.rounding) {
    case Rounding::kBf16:
      return SweepAs<Rounding::kBf16>(block);
    case Rounding::kF16:
      return SweepAs<Rounding::kF16>(block);
    case Rounding::kNone:
      return SweepAs<Rounding::kNone>(block);
  }
}
