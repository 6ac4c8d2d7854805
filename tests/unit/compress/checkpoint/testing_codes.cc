#include "testing_codes.h"

#include <cstring>

#include <gtest/gtest.h>

#include "compress/base/random.h"
#include "compress/checkpoint/number_formats.h"

namespace calipress::checkpoint::testing {

CodesLinear RandomLinear(const QuantizationScheme& scheme, int64_t out, int64_t in, Dtype dtype, uint64_t seed) {
  RandomStream random(seed, 0);
  const bool floats = scheme.type == NumberType::kFloat;
  const auto code = [&] {
    // Any byte of E4M3 but NaN, which has all ones below the sign.
    if (floats) return static_cast<int8_t>(random.Below(127) | (random.Below(2) << 7));
    return static_cast<int8_t>(static_cast<int>(random.Below(1u << scheme.bits)) - (1 << (scheme.bits - 1)));
  };
  CodesLinear linear{scheme, out, in, {}, dtype, {}, {}, {}};
  for (int64_t i = 0; i < out * in; ++i) linear.codes.push_back(code());
  const int64_t cells = scheme.ScaleRows(out) * scheme.Groups(in);
  for (int64_t i = 0; i < cells; ++i) {
    const float scale = std::ldexp(1.0f, -static_cast<int>(random.Below(8)));
    char bytes[4];
    if (dtype == Dtype::kF32) {
      std::memcpy(bytes, &scale, 4);
    } else {
      const uint16_t half = dtype == Dtype::kF16 ? F16::Round(scale) : Bf16::Round(scale);
      std::memcpy(bytes, &half, 2);
    }
    linear.scales.insert(linear.scales.end(), bytes, bytes + DtypeBytes(dtype));
    if (!scheme.symmetric) linear.zero_points.push_back(code());
  }
  if (scheme.activations == Activations::kStatic) linear.input_scale = 0.25f;
  return linear;
}

StoredTensors Store(const LinearFormat& format, const std::string& module, const CodesLinear& linear) {
  std::vector<char> bytes;
  const absl::Status status = format.Encode(linear.View(), [&](const void* data, int64_t size) {
    bytes.insert(bytes.end(), static_cast<const char*>(data), static_cast<const char*>(data) + size);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  StoredTensors tensors;
  int64_t begin = 0;
  for (const TensorPlan& plan : format.Plan(module, linear.out, linear.in, linear.scheme, linear.dtype)) {
    const int64_t end = begin + TensorBytes(plan);
    EXPECT_LE(end, static_cast<int64_t>(bytes.size())) << plan.name;
    tensors[plan.name] = {plan.dtype, plan.shape, std::vector<char>(bytes.begin() + begin, bytes.begin() + end)};
    begin = end;
  }
  EXPECT_EQ(begin, static_cast<int64_t>(bytes.size()));
  return tensors;
}

TensorSource SourceOf(const StoredTensors& tensors) {
  return [&tensors](const std::string& name) -> absl::StatusOr<std::optional<StoredTensor>> {
    const auto found = tensors.find(name);
    if (found == tensors.end()) return std::nullopt;
    return found->second;
  };
}

std::vector<uint32_t> Words(const StoredTensor& tensor) {
  std::vector<uint32_t> words(tensor.bytes.size() / 4);
  std::memcpy(words.data(), tensor.bytes.data(), tensor.bytes.size());
  return words;
}

StoredTensor OfWords(std::vector<int64_t> shape, const std::vector<uint32_t>& words) {
  StoredTensor tensor{Dtype::kI32, std::move(shape), std::vector<char>(words.size() * 4)};
  std::memcpy(tensor.bytes.data(), words.data(), tensor.bytes.size());
  return tensor;
}

}  // namespace calipress::checkpoint::testing
