#include "compress/tensor/second_moment.h"

#include <ATen/ops/zeros.h>

#include "compress/tensor/gram.h"

namespace calipress::tensor {

SecondMoment::SecondMoment(int64_t features, at::Device device)
    : sum_(at::zeros({features, features}, at::TensorOptions().dtype(at::kFloat).device(device))) {}

void SecondMoment::Add(const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 2 && x.size(1) == sum_.size(0), "second moment of ", sum_.size(0), " features got ",
              x.sizes());
  TORCH_CHECK(x.is_contiguous() && x.device() == sum_.device(), "second moment wants contiguous input on its device");
  AccumulateGram(x, GramPathFor(x), sum_);
  tokens_ += x.size(0);
}

at::Tensor SecondMoment::Full() {
  MirrorLower(sum_);
  return sum_;
}

}  // namespace calipress::tensor
