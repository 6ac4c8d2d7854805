#include "tests/unit/compress/method/testing_block.h"

#include <cmath>
#include <tuple>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

at::Tensor Normed(const at::Tensor& hidden, const at::Tensor& norm) {
  return hidden.div(hidden.square().mean(1, /*keepdim=*/true).add(1e-6).sqrt()).mul(norm.to(at::kDouble));
}

}  // namespace

TestingBlock::TestingBlock(const BlockShape& shape, at::ScalarType dtype, uint64_t seed, int64_t tokens)
    : shape_(shape) {
  hidden_ = CorrelatedInputs(tokens, shape.hidden, seed).to(at::kDouble);
  block_.index = 3;
  block_.heads = shape.heads;
  block_.kv_heads = shape.kv_heads;
  block_.head_dim = shape.head_dim;
  block_.input_norm = RandomNormal({shape.hidden}, seed + 10).mul(0.3).add(1.0).to(dtype);
  block_.post_attention_norm = RandomNormal({shape.hidden}, seed + 11).mul(0.3).add(1.0).to(dtype);
  const auto add = [&](const char* role, int input, int64_t out, int64_t in) {
    const uint64_t own = seed + 20 + block_.linears.size();
    TransformLinear linear{role, input, RandomNormal({out, in}, own).div(std::sqrt(1.0 * in)).to(dtype), {}, true};
    if (shape.bias) linear.bias = RandomNormal({out}, own + 100).mul(0.1).to(dtype);
    block_.linears.push_back(std::move(linear));
  };
  const int64_t queries = shape.heads * shape.head_dim, keys = shape.kv_heads * shape.head_dim;
  add("q_proj", 0, queries, shape.hidden);
  add("k_proj", 0, keys, shape.hidden);
  add("v_proj", 0, keys, shape.hidden);
  add("o_proj", 1, shape.hidden, queries);
  add("gate_proj", 2, shape.intermediate, shape.hidden);
  add("up_proj", 2, shape.intermediate, shape.hidden);
  add("down_proj", 3, shape.hidden, shape.intermediate);
  block_.statistics = &statistics_;
  Measure();
}

TransformLinear& TestingBlock::linear(const std::string& role) {
  for (TransformLinear& linear : block_.linears) {
    if (linear.role == role) return linear;
  }
  ADD_FAILURE() << role;
  return block_.linears.front();
}

TestingBlock::Values TestingBlock::Run() const {
  const auto apply = [&](const std::string& role, const at::Tensor& x) {
    for (const TransformLinear& linear : block_.linears) {
      if (linear.role != role) continue;
      const at::Tensor y = at::mm(x, linear.weight.to(at::kDouble).t());
      return linear.bias.defined() ? y.add(linear.bias.to(at::kDouble)) : y;
    }
    return at::Tensor();
  };
  const int64_t tokens = hidden_.size(0), repeats = shape_.heads / shape_.kv_heads;
  const auto heads = [&](const at::Tensor& x, int64_t count) {
    const at::Tensor split = x.view({tokens, count, shape_.head_dim}).transpose(0, 1);
    return count == shape_.heads ? split : split.repeat_interleave(repeats, 0);
  };
  Values values;
  at::Tensor x = Normed(hidden_, block_.input_norm);
  values.inputs[0] = x;
  const at::Tensor query = heads(apply("q_proj", x), shape_.heads), key = heads(apply("k_proj", x), shape_.kv_heads);
  const at::Tensor scores = at::bmm(query, key.transpose(1, 2)).div(std::sqrt(1.0 * shape_.head_dim)).softmax(2);
  values.inputs[1] = at::bmm(scores, heads(apply("v_proj", x), shape_.kv_heads)).transpose(0, 1).reshape({tokens, -1});
  const at::Tensor middle = hidden_.add(apply("o_proj", values.inputs[1]));
  x = Normed(middle, block_.post_attention_norm);
  values.inputs[2] = x;
  values.inputs[3] = at::silu(apply("gate_proj", x)).mul(apply("up_proj", x));
  values.output = middle.add(apply("down_proj", values.inputs[3]));
  return values;
}

InputStatistics TestingBlock::AllStatistics(const at::Tensor& inputs) {
  const at::Tensor x = inputs.to(at::kDouble);
  InputStatistics statistics;
  statistics.second_moment = at::mm(x.t(), x).to(at::kFloat);
  statistics.square_sum = x.square().sum(0).to(at::kFloat);
  statistics.absolute_sum = x.abs().sum(0).to(at::kFloat);
  statistics.absolute_max = std::get<0>(x.abs().max(0)).to(at::kFloat);
  statistics.sum = x.sum(0).to(at::kFloat);
  statistics.variance_sum = x.var(0).mul(static_cast<double>(x.size(0))).to(at::kFloat);
  statistics.sample = x.narrow(0, 0, 16).to(at::kFloat);
  statistics.tokens = x.size(0);
  statistics.sequences = 1;
  return statistics;
}

void TestingBlock::Measure() {
  const Values values = Run();
  for (int input = 0; input < 4; ++input) statistics_[input] = AllStatistics(values.inputs[input]);
}

}  // namespace calipress::method
