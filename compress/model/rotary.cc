#include "compress/model/rotary.h"

#include <cmath>
#include <cstdint>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "compress/model/block.h"
#include "compress/model/rotary_rows.h"

namespace calipress::model {
namespace {

using arch::RopeScaling;

constexpr double kPi = 3.14159265358979323846;

// Frequencies [head_dim / 2] in fp32, in the operations and the order of transformers' modeling_rope_utils, so that
// they agree to the bit: high positions multiply every difference.
struct Frequencies {
  at::Tensor inverse;
  double attention_scale = 1.0;  // multiplies cosines and sines
};

at::Tensor Exponents(int64_t head_dim) { return at::arange(0, head_dim, 2, at::kFloat) / head_dim; }

at::Tensor DefaultFrequencies(double theta, int64_t head_dim) {
  return 1.0 / at::pow(at::Scalar(theta), Exponents(head_dim));
}

// Frequencies that grow with the sequence once it is longer than the model's positions.
at::Tensor DynamicFrequencies(const arch::ArchSpec& spec, int64_t length) {
  const double factor = spec.rope_scaling.factor;
  const double power = static_cast<double>(spec.head_dim) / static_cast<double>(spec.head_dim - 2);
  if (length <= spec.max_positions) return DefaultFrequencies(spec.rope_theta, spec.head_dim);
  const at::Tensor positions = at::scalar_tensor(length, at::kLong);
  const at::Tensor stretch = positions * factor / spec.max_positions - (factor - 1.0);
  const at::Tensor theta = at::pow(stretch, power) * spec.rope_theta;
  return 1.0 / at::pow(theta, Exponents(spec.head_dim));
}

at::Tensor Llama3Frequencies(const arch::ArchSpec& spec) {
  const RopeScaling& rope = spec.rope_scaling;
  const at::Tensor inverse = DefaultFrequencies(spec.rope_theta, spec.head_dim);
  const double old_length = static_cast<double>(rope.original_max_positions);
  const double low_wavelength = old_length / rope.low_frequency_factor;
  const double high_wavelength = old_length / rope.high_frequency_factor;
  const at::Tensor wavelength = 2.0 * kPi / inverse;
  const at::Tensor scaled = at::where(wavelength > low_wavelength, inverse / rope.factor, inverse);
  const at::Tensor smooth =
      (old_length / wavelength - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor);
  const at::Tensor smoothed = (1.0 - smooth) * scaled / rope.factor + smooth * scaled;
  const at::Tensor medium = at::logical_and(wavelength >= high_wavelength, wavelength <= low_wavelength);
  return at::where(medium, smoothed, scaled);
}

double MagnitudeScale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

Frequencies YarnFrequencies(const arch::ArchSpec& spec) {
  const RopeScaling& rope = spec.rope_scaling;
  const int64_t dim = spec.head_dim;
  Frequencies result;
  if (rope.attention_factor.has_value()) {
    result.attention_scale = *rope.attention_factor;
  } else if (rope.mscale.value_or(0.0) != 0.0 && rope.mscale_all_dim.value_or(0.0) != 0.0) {
    result.attention_scale =
        MagnitudeScale(rope.factor, *rope.mscale) / MagnitudeScale(rope.factor, *rope.mscale_all_dim);
  } else {
    result.attention_scale = MagnitudeScale(rope.factor, 1.0);
  }

  // The dimension at which a head turns `rotations` times over the original positions.
  const auto dimension = [&](double rotations) {
    const double positions = static_cast<double>(rope.original_max_positions);
    return static_cast<double>(dim) * std::log(positions / (rotations * 2.0 * kPi)) / (2.0 * std::log(spec.rope_theta));
  };
  double low = dimension(rope.beta_fast);
  double high = dimension(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // no division by zero in the ramp

  const at::Tensor powers = at::pow(at::Scalar(spec.rope_theta), Exponents(dim));
  const at::Tensor extrapolated = 1.0 / powers;
  const at::Tensor interpolated = 1.0 / (rope.factor * powers);
  const at::Tensor ramp = at::clamp((at::arange(dim / 2, at::kFloat) - low) / (high - low), 0, 1);
  const at::Tensor keep = 1.0 - ramp;
  result.inverse = interpolated * (1.0 - keep) + extrapolated * keep;
  return result;
}

Frequencies MakeFrequencies(const arch::ArchSpec& spec, int64_t length) {
  switch (spec.rope_scaling.kind) {
    case RopeScaling::Kind::kNone:
      return {DefaultFrequencies(spec.rope_theta, spec.head_dim)};
    case RopeScaling::Kind::kLinear:
      return {DefaultFrequencies(spec.rope_theta, spec.head_dim) / spec.rope_scaling.factor};
    case RopeScaling::Kind::kDynamic:
      return {DynamicFrequencies(spec, length)};
    case RopeScaling::Kind::kLlama3:
      return {Llama3Frequencies(spec)};
    case RopeScaling::Kind::kYarn:
      return YarnFrequencies(spec);
  }
  TORCH_CHECK(false, "unknown rotary scaling");
}

template <typename T>
void RotateAll(at::Tensor& heads, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t length = heads.size(1);
  const int64_t count = heads.size(2);
  const int64_t dim = heads.size(3);
  T* data = static_cast<T*>(heads.mutable_data_ptr());
  const float* cos_data = cos.const_data_ptr<float>();
  const float* sin_data = sin.const_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, count * dim));
  at::parallel_for(0, heads.size(0) * length, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t position = row % length;
      RotateRows(data + row * count * dim, count, dim, cos_data + position * dim, sin_data + position * dim);
    }
  });
}

}  // namespace

RotaryTable MakeRotaryTable(const arch::ArchSpec& spec, int64_t length, at::Device device) {
  const c10::NoGradGuard no_grad;
  const Frequencies frequencies = MakeFrequencies(spec, length);
  const at::Tensor angles = at::outer(at::arange(length, at::kFloat), frequencies.inverse);
  const at::Tensor both = at::cat({angles, angles}, 1);
  return {(both.cos() * frequencies.attention_scale).to(device), (both.sin() * frequencies.attention_scale).to(device)};
}

void ApplyRotary(at::Tensor& heads, const at::Tensor& cos, const at::Tensor& sin) {
  const at::ScalarType dtype = heads.scalar_type();
  const int64_t length = heads.size(1);
  TORCH_CHECK(cos.size(0) >= length, "the rotary table has ", cos.size(0), " positions, the input ", length);
  TORCH_CHECK(cos.size(1) == heads.size(3), "the rotary table is for heads of ", cos.size(1), ", not ", heads.size(3));
  const at::Tensor narrow_cos = cos.narrow(0, 0, length).to(dtype);
  const at::Tensor narrow_sin = sin.narrow(0, 0, length).to(dtype);
  const bool kernel = heads.is_cpu() && heads.is_contiguous() && (dtype == at::kBFloat16 || dtype == at::kFloat);
  if (kernel) {
    const at::Tensor wide_cos = narrow_cos.to(at::kFloat).contiguous();
    const at::Tensor wide_sin = narrow_sin.to(at::kFloat).contiguous();
    if (dtype == at::kFloat) {
      RotateAll<float>(heads, wide_cos, wide_sin);
    } else {
      RotateAll<uint16_t>(heads, wide_cos, wide_sin);
    }
    return;
  }
  const int64_t half = heads.size(3) / 2;
  const at::Tensor first = heads.narrow(3, 0, half);
  const at::Tensor second = heads.narrow(3, half, half);
  const at::Tensor turned = at::cat({-second, first}, 3).mul_(narrow_sin.unsqueeze(1));
  heads.mul_(narrow_cos.unsqueeze(1)).add_(turned);
}

}  // namespace calipress::model
