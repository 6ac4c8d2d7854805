#include "compress/tensor/device_kernels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/tensor/gram.h"

namespace calipress::tensor {
namespace {

int calls = 0;

void CountingGram(const at::Tensor& x, at::Tensor& sum) {
  ++calls;
  at::Tensor wide = x.to(at::kFloat);
  sum.addmm_(wide.t(), wide);
}

// A module's kernel takes the place of ATen on the device path. (No accelerator is needed: the CPU stands for one.)
TEST(DeviceKernels, ARegisteredKernelIsUsed) {
  at::Tensor x = at::ones({3, 2});
  at::Tensor with = at::zeros({2, 2}), without = at::zeros({2, 2});
  AccumulateGram(x, GramPath::kDevice, without);
  EXPECT_EQ(calls, 0);
  RegisterDeviceKernels(at::kCPU, {.accumulate_gram = CountingGram});
  AccumulateGram(x, GramPath::kDevice, with);
  RegisterDeviceKernels(at::kCPU, {});
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(at::equal(with, without));
  EXPECT_EQ(with[0][1].item<float>(), 3.0f);
}

TEST(DeviceKernels, NothingIsRegisteredForOthers) {
  EXPECT_EQ(DeviceKernelsFor(at::kCUDA).accumulate_gram, nullptr);
  EXPECT_EQ(DeviceKernelsFor(at::kCUDA).sweep_panel, nullptr);
}

}  // namespace
}  // namespace calipress::tensor
