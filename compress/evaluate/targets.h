#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace calipress::evaluate {

// What a model thinks of one token.
struct TargetScore {
  double negative_log_likelihood = 0.0;  // nats
  bool likeliest = false;                // no other token has a larger logit; among equals the lowest id is it
};

// Of each position on its own. logits: [positions, vocabulary] of any float dtype, scored in fp32; targets: int64
// [positions].
std::vector<TargetScore> ScoreTargets(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace calipress::evaluate
