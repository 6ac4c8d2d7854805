#pragma once

#include <cstdint>

namespace calipress::tensor {

// sum [features, features] += x' x in the lower triangle (and in the tiles that cross the diagonal); x is bf16
// [tokens, features], row-major. Packs 512 tokens at a time. The result does not depend on the thread count. Only for
// processors with AVX512_BF16.
void AccumulateGramAvx512Bf16(const uint16_t* x, int64_t tokens, int64_t features, float* sum);

}  // namespace calipress::tensor
