#include "compress/model/input_rounding.h"

#include <limits>

#include <ATen/ATen.h>

namespace calipress::model {
namespace {

using checkpoint::Activations;
using checkpoint::NumberType;

// Codes reach 127 or 448; half of the codes' range, 127.5, is what scales divide by.
double Reach(NumberType type) { return type == NumberType::kFloat ? checkpoint::kLargestE4m3 : 127.5; }

// Rounded in the dtype at every step: the quotient, the code, the product.
at::Tensor RoundTo(const at::Tensor& input, const at::Tensor& scale, NumberType type) {
  const at::Tensor quotient = input.div(scale);
  const at::Tensor code = type == NumberType::kFloat
                              ? quotient.clamp_(-checkpoint::kLargestE4m3, checkpoint::kLargestE4m3)
                                    .to(at::kFloat8_e4m3fn)
                                    .to(input.scalar_type())
                              : quotient.clamp_(-128.0, 127.0).round_();
  return code.mul(scale);
}

}  // namespace

at::Tensor RoundInput(const at::Tensor& input, const InputQuantization& quantization) {
  if (quantization.mode == Activations::kNone) return input;
  if (quantization.mode == Activations::kStatic) {
    return RoundTo(input, quantization.scale.to(input.options()), quantization.type);
  }
  const at::Tensor runs = quantization.blocks ? input.unflatten(-1, {-1, checkpoint::kBlockSize}) : input;
  at::Tensor scale = runs.abs().amax(-1, /*keepdim=*/true).div_(Reach(quantization.type));
  // Any positive number will do where all is zero.
  scale.masked_fill_(scale.eq(0.0), 1.0);
  return RoundTo(runs, scale, quantization.type).view(input.sizes());
}

}  // namespace calipress::model
