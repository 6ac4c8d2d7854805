#pragma once

#include <ATen/core/Tensor.h>

#include "compress/method/method.h"

namespace calipress::method {

// The task's weight, contiguous, and zero wherever an earlier step pruned it.
inline at::Tensor MaskedWeight(const LinearTask& task) {
  const at::Tensor weight = task.weight.contiguous();
  return task.pruned.defined() ? weight.masked_fill(task.pruned, 0.0) : weight;
}

}  // namespace calipress::method
