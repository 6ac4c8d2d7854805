#include "compress/model/gated.h"

#include <algorithm>
#include <cstdint>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>

namespace calipress::model {
namespace {

// Elements per piece: both pieces stay in a core's cache between the two operations.
constexpr int64_t kPiece = 64 * 1024;

void ActivateAndMultiply(arch::Activation activation, at::Tensor gate, const at::Tensor& up) {
  switch (activation) {
    case arch::Activation::kSilu:
      at::silu_(gate);
      break;
    case arch::Activation::kGelu:
      at::gelu_(gate, "none");
      break;
    case arch::Activation::kGeluTanh:
      at::gelu_(gate, "tanh");
      break;
  }
  gate.mul_(up);
}

}  // namespace

at::Tensor GatedActivation(arch::Activation activation, at::Tensor gate, const at::Tensor& up) {
  if (!gate.is_cpu() || !gate.is_contiguous() || !up.is_contiguous() || gate.sizes() != up.sizes()) {
    ActivateAndMultiply(activation, gate, up);
    return gate;
  }
  const at::Tensor flat_gate = gate.view({-1});
  const at::Tensor flat_up = up.view({-1});
  const int64_t size = gate.numel();
  at::parallel_for(0, (size + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end) {
    // The caller's inference or gradient mode is not that of this thread; neither is wanted here.
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t start = piece * kPiece;
      const int64_t count = std::min(kPiece, size - start);
      ActivateAndMultiply(activation, flat_gate.narrow(0, start, count), flat_up.narrow(0, start, count));
    }
  });
  return gate;
}

}  // namespace calipress::model
