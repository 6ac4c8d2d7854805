#include "compress/model/gated.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace calipress::model {
namespace {

TEST(GatedActivation, EqualsTheOperationsToTheBit) {
  at::manual_seed(3);
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

TEST(GatedActivation, WritesIntoTheGate) {
  const at::Tensor gate = at::randn({5, 8});
  const at::Tensor up = at::randn({5, 8});
  EXPECT_EQ(GatedActivation(arch::Activation::kSilu, gate, up).const_data_ptr(), gate.const_data_ptr());
}

}  // namespace
}  // namespace calipress::model
