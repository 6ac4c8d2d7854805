#pragma once

#include <cstdint>

namespace calipress::model {

struct AttentionShape {
  int64_t batch = 0;
  int64_t length = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads
  int64_t head_dim = 0;
  int64_t window = 0;  // positions that each one sees, itself included; 0: all before it
};

// Whether AttendBf16 can run this here: it needs AVX512_BF16. Processors with AMX have a faster way in ATen.
bool CanAttendBf16(const AttentionShape& shape);

// Causal attention on contiguous bf16 bits: query and out [batch, length, heads, head_dim], key and value [batch,
// length, kv_heads, head_dim]. Scores and sums in fp32, probabilities in bf16 as in ATen's flash kernel. The result
// does not depend on the number of threads.
void AttendBf16(const AttentionShape& shape, const uint16_t* query, const uint16_t* key, const uint16_t* value,
                uint16_t* out);

}  // namespace calipress::model
