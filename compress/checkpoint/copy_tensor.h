#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "compress/checkpoint/safetensors.h"

namespace calipress::checkpoint {

// What a conversion between floating dtypes did to some of its numbers.
struct ConversionLoss {
  bool overflow = false;  // finite numbers became infinite
  bool inexact = false;   // numbers were rounded

  void Merge(const ConversionLoss& other) {
    overflow |= other.overflow;
    inexact |= other.inexact;
  }
};

// BF16, F16, F32 or F64 to BF16, F16 or F32, halves to even.
ConversionLoss ConvertNumbers(Dtype from, const void* numbers, int64_t count, Dtype to, void* converted);

// Appends a tensor's bytes, in `dtype` where that differs from its own, a piece at a time. NON_FINITE_WEIGHTS where
// numbers are beyond the range of `dtype`.
absl::StatusOr<ConversionLoss> CopyTensor(const ModelReader& reader, const TensorInfo& info, Dtype dtype,
                                          SafetensorsWriter& writer);

}  // namespace calipress::checkpoint
