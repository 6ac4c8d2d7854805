#pragma once

#include <cstdint>

namespace calipress::model {

// Rotates `heads` heads of `head_dim` contiguous elements, all at one position. float rows are fp32, uint16_t rows
// bf16 bits. `cos` and `sin` have `head_dim` entries, already rounded to the rows' type.
void RotateRows(float* rows, int64_t heads, int64_t head_dim, const float* cos, const float* sin);
void RotateRows(uint16_t* rows, int64_t heads, int64_t head_dim, const float* cos, const float* sin);

}  // namespace calipress::model
