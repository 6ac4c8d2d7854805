#include "compress/tensor/quadratic_form.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace calipress::tensor {
namespace {

at::Tensor Random(at::IntArrayRef sizes, uint64_t seed) {
  return at::randn(sizes, at::make_generator<at::CPUGeneratorImpl>(seed), at::kFloat);
}

double Reference(const at::Tensor& weight, const at::Tensor& matrix) {
  at::Tensor wide = weight.to(at::kDouble);
  return at::mm(wide, matrix.to(at::kDouble)).mul_(wide).sum().item<double>();
}

TEST(QuadraticForms, MatchDoublePrecision) {
  uint64_t seed = 1;
  for (auto [rows, columns] : {std::pair{1, 1}, {1, 12}, {5, 13}, {32, 64}, {33, 127}, {300, 650}, {257, 1100}}) {
    at::Tensor x = Random({columns + 20, columns}, ++seed).mul_(Random({columns}, seed + 100).exp_());
    at::Tensor matrix = at::mm(x.t(), x).contiguous();
    at::Tensor bf16 = Random({rows, columns}, ++seed).to(at::kBFloat16);
    at::Tensor fp32 = Random({2 * rows, columns}, ++seed).mul_(0.01);
    const auto forms = QuadraticForms({bf16, fp32}, matrix);
    ASSERT_EQ(forms.size(), 2u);
    // A few numbers alone show the whole error of bf16; many average it out.
    const double tolerance = rows * columns < 1000 ? 0.02 : 0.003;
    EXPECT_NEAR(forms[0] / Reference(bf16, matrix), 1.0, tolerance) << rows << "x" << columns;
    EXPECT_NEAR(forms[1] / Reference(fp32, matrix), 1.0, tolerance) << rows << "x" << columns;
  }
}

TEST(QuadraticForms, ZeroWeightIsZero) { EXPECT_EQ(QuadraticForms({at::zeros({40, 30})}, at::eye(30))[0], 0.0); }

}  // namespace
}  // namespace calipress::tensor
