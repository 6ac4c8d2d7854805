#pragma once

#include <cstdint>

namespace calipress::model {

// Whether no element is NaN or infinite: none has all exponent bits set. Elements are raw bits of fp32, or of a 16-bit
// float whose exponent bits are `exponent` (bf16 0x7f80, fp16 0x7c00).
bool FiniteRow32(const uint32_t* bits, int64_t size);
bool FiniteRow16(const uint16_t* bits, int64_t size, uint16_t exponent);

}  // namespace calipress::model
