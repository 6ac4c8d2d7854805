#pragma once

#include <cstdint>

namespace calipress::model {

// `count` rows of `size` contiguous elements; float rows are fp32, uint16_t rows are bf16 bits. `input` and `output`
// may be the same. Sums of squares are added in ATen's order, so that the result is the same to the bit. `scratch` has
// `size` floats.
void RmsNormRows(const float* input, const float* weight, float eps, int64_t count, int64_t size, float* scratch,
                 float* output);
void RmsNormRows(const uint16_t* input, const uint16_t* weight, float eps, int64_t count, int64_t size, float* scratch,
                 uint16_t* output);

}  // namespace calipress::model
