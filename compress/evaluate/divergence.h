#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace calipress::evaluate {

// Sums over predicted positions of one text. Perplexity per methods.md 8.1: within each window the positions 1.. are
// predicted from those before.
struct TextScore {
  int64_t tokens = 0;                              // predicted positions
  double negative_log_likelihood = 0.0;            // nats, of the model under test
  double reference_negative_log_likelihood = 0.0;  // of the reference, where there is one
  double kl = 0.0;                                 // sum of KL(reference || test), nats
  double js = 0.0;                                 // sum of JS, nats
  int64_t agree = 0;                               // positions at which both put the same token first

  double Perplexity() const;
  double ReferencePerplexity() const;
};

// Adds the windows of one micro-batch. logits: [batch, length, vocabulary] of any float dtype, scored in fp32 and in
// chunks of positions so that fp32 copies stay small; ids: int64 [batch, length]; `reference` may be undefined.
void ScoreLogits(const at::Tensor& logits, const at::Tensor& reference, const at::Tensor& ids, TextScore* score);

}  // namespace calipress::evaluate
