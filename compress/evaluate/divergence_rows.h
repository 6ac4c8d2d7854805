#pragma once

#include <cstdint>

namespace calipress::evaluate {

// A row of logits, as log-probabilities need it.
struct RowSummary {
  float largest = 0.0f;
  int64_t first = 0;         // of the largest, the first where several are equal
  double log_sum_exp = 0.0;  // NaN where a logit is NaN
};

// `size` bf16 values, given by their bits, as fp32.
void WidenBfloat16(const uint16_t* bits, int64_t size, float* out);

RowSummary SummarizeRow(const float* logits, int64_t size);

// KL(reference || test) and the Jensen-Shannon divergence of two rows, nats; never negative, js at most ln 2. A logit
// of -inf counts as -1e30: where the reference has mass and the test has none, kl is huge, not infinite.
void DivergenceOfRows(const float* reference, const RowSummary& reference_summary, const float* test,
                      const RowSummary& test_summary, int64_t size, double* kl, double* js);

}  // namespace calipress::evaluate
