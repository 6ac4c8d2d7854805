#include "compress/model/gated.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace calipress::model {
namespace {

TEST(GatedActivation, EqualsTheOperationsToTheBit) {
  at::manual_seed(3);
  // With more threads ATen's own result depends on where it cuts: the rest of a piece is computed one by one.
  at::set_num_threads(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    // One piece, several pieces, a piece and a rest.
    for (const int64_t rows : {1, 64, 301}) {
      const at::Tensor gate = (at::randn({2, rows, 344}) * 4.0).to(dtype);
      const at::Tensor up = at::randn({2, rows, 344}).to(dtype);
      EXPECT_TRUE(at::equal(GatedActivation(arch::Activation::kSilu, gate.clone(), up), at::silu(gate) * up));
      EXPECT_TRUE(at::equal(GatedActivation(arch::Activation::kGelu, gate.clone(), up), at::gelu(gate) * up));
      EXPECT_TRUE(
          at::equal(GatedActivation(arch::Activation::kGeluTanh, gate.clone(), up), at::gelu(gate, "tanh") * up));
    }
  }
}

TEST(GatedActivation, DoesNotDependOnTheThreads) {
  const at::Tensor gate = at::randn({2, 301, 345});
  const at::Tensor up = at::randn({2, 301, 345});
  at::set_num_threads(1);
  const at::Tensor one = GatedActivation(arch::Activation::kSilu, gate.clone(), up);
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(GatedActivation(arch::Activation::kSilu, gate.clone(), up), one)) << threads;
  }
}

TEST(GatedActivation, WritesIntoTheGate) {
  const at::Tensor gate = at::randn({5, 8});
  const at::Tensor up = at::randn({5, 8});
  EXPECT_EQ(GatedActivation(arch::Activation::kSilu, gate, up).const_data_ptr(), gate.const_data_ptr());
}

}  // namespace
}  // namespace calipress::model
