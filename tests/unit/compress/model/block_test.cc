#include "compress/model/block.h"

#include <limits>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "testing_weights.h"

namespace calipress::model {
namespace {

using arch::Role;

// A block in double precision, written from the papers: no code in common with the one under test.
at::Tensor PlainBlock(const arch::ArchSpec& spec, int64_t index, const MemoryWeights& weights,
                      const at::Tensor& input) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const auto tensor = [&](const std::string& name) { return weights.tensors.at(prefix + name).to(at::kDouble); };
  const auto norm = [&](const at::Tensor& x, const std::string& name) {
    return x / (x.square().mean(-1, true) + spec.norm_eps).sqrt() * tensor(name + ".weight");
  };
  const auto linear = [&](const at::Tensor& x, const std::string& name) {
    const at::Tensor y = at::matmul(x, tensor(name + ".weight").t());
    return weights.tensors.count(prefix + name + ".bias") != 0 ? y + tensor(name + ".bias") : y;
  };
  const int64_t batch = input.size(0), length = input.size(1), dim = spec.head_dim;
  const at::Tensor hidden = input.to(at::kDouble);
  const at::Tensor normed = norm(hidden, "input_layernorm");
  at::Tensor query = linear(normed, "self_attn.q_proj").view({batch, length, spec.heads, dim});
  at::Tensor key = linear(normed, "self_attn.k_proj").view({batch, length, spec.kv_heads, dim});
  at::Tensor value = linear(normed, "self_attn.v_proj").view({batch, length, spec.kv_heads, dim});
  if (spec.qk_norm) {
    query = norm(query, "self_attn.q_norm");
    key = norm(key, "self_attn.k_norm");
  }
  const at::Tensor frequency = at::pow(at::Scalar(spec.rope_theta), at::arange(0, dim, 2, at::kDouble) / -dim);
  const at::Tensor angle = at::outer(at::arange(length, at::kDouble), frequency).unsqueeze(1);
  const auto rotate = [&](const at::Tensor& x) {
    const at::Tensor a = x.narrow(3, 0, dim / 2), b = x.narrow(3, dim / 2, dim / 2);
    return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 3);
  };
  const int64_t times = spec.heads / spec.kv_heads;
  const at::Tensor q = rotate(query).transpose(1, 2);
  const at::Tensor k = rotate(key).repeat_interleave(times, 2).transpose(1, 2);
  const at::Tensor v = value.repeat_interleave(times, 2).transpose(1, 2);
  at::Tensor seen = at::ones({length, length}, at::kBool).tril();
  if (spec.sliding_window[index] > 0) seen = seen.triu(1 - spec.sliding_window[index]);
  const at::Tensor scores = (at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(dim)))
                                .masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
  const at::Tensor heads = at::matmul(at::softmax(scores, -1), v).transpose(1, 2).reshape({batch, length, -1});
  const at::Tensor attended = hidden + linear(heads, "self_attn.o_proj");
  const at::Tensor mlp = norm(attended, "post_attention_layernorm");
  const at::Tensor gate = linear(mlp, "mlp.gate_proj");
  return attended + linear(gate / (1 + at::exp(-gate)) * linear(mlp, "mlp.up_proj"), "mlp.down_proj");
}

double Worst(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

class BlockTest : public testing::TestWithParam<const char*> {};

TEST_P(BlockTest, AgreesWithDoublePrecision) {
  arch::ArchSpec spec = SmallSpec(GetParam());
  spec.sliding_window = {0, 5};
  const MemoryWeights weights(spec, at::kFloat);
  const RotaryTable rotary = MakeRotaryTable(spec, 20, at::kCPU);
  const at::Tensor hidden = at::randn({3, 20, spec.hidden});
  for (int64_t index = 0; index < spec.blocks; ++index) {
    const absl::StatusOr<Block> block = Block::Load(spec, index, weights);
    ASSERT_TRUE(block.ok()) << block.status();
    EXPECT_EQ(block->index(), index);
    const at::Tensor output = block->Forward(hidden, rotary);
    ASSERT_EQ(output.sizes(), hidden.sizes());
    EXPECT_LT(Worst(output, PlainBlock(spec, index, weights, hidden)), 1e-4);
  }
}

TEST_P(BlockTest, RunsInBf16) {
  const arch::ArchSpec spec = SmallSpec(GetParam());
  const MemoryWeights weights(spec, at::kBFloat16);
  const absl::StatusOr<Block> block = Block::Load(spec, 0, weights);
  ASSERT_TRUE(block.ok()) << block.status();
  const at::Tensor hidden = at::randn({2, 20, spec.hidden}).to(at::kBFloat16);
  const at::Tensor output = block->Forward(hidden, MakeRotaryTable(spec, 20, at::kCPU));
  EXPECT_EQ(output.scalar_type(), at::kBFloat16);
  const at::Tensor plain = PlainBlock(spec, 0, weights, hidden);
  EXPECT_LT(Worst(output, plain), 0.03 * plain.abs().max().item<double>());
}

INSTANTIATE_TEST_SUITE_P(Families, BlockTest, testing::Values("llama", "mistral", "qwen2", "qwen3"));

class LoadedBlock : public testing::Test {
 protected:
  arch::ArchSpec spec_ = SmallSpec("qwen2");
  MemoryWeights weights_{spec_, at::kFloat};
};

TEST_F(LoadedBlock, CutsGiveWhatTheLinearsTakeIn) {
  const Block block = *Block::Load(spec_, 0, weights_);
  const RotaryTable rotary = MakeRotaryTable(spec_, 9, at::kCPU);
  const at::Tensor hidden = at::randn({2, 9, spec_.hidden});
  const at::Tensor before = hidden.clone();
  const at::Tensor heads = block.AttentionOutput(block.AttentionInput(hidden), rotary);
  EXPECT_EQ(heads.sizes(), (at::IntArrayRef{2, 9, spec_.heads * spec_.head_dim}));
  const at::Tensor attended = block.AddAttention(hidden, heads);
  const at::Tensor activation = block.MlpActivation(block.MlpInput(attended));
  EXPECT_EQ(activation.sizes(), (at::IntArrayRef{2, 9, spec_.intermediate}));
  EXPECT_TRUE(at::equal(block.AddMlp(attended, activation), block.Forward(hidden, rotary)));
  EXPECT_TRUE(at::equal(hidden, before)) << "the caller's hidden states were written to";
}

TEST_F(LoadedBlock, UsesAReplacedWeight) {
  Block block = *Block::Load(spec_, 0, weights_);
  const RotaryTable rotary = MakeRotaryTable(spec_, 9, at::kCPU);
  const at::Tensor hidden = at::randn({2, 9, spec_.hidden});
  const at::Tensor before = block.Forward(hidden, rotary);
  for (const arch::LinearSpec& linear : arch::BlockLinears(spec_, 0)) {
    const at::Tensor old = block.weight(linear.role);
    block.ReplaceWeight(linear.role, old * 0.5);
    EXPECT_GT(Worst(block.Forward(hidden, rotary), before), 1e-3) << linear.module;
    block.ReplaceWeight(linear.role, old);
  }
  EXPECT_TRUE(at::equal(block.Forward(hidden, rotary), before));
  EXPECT_ANY_THROW(block.ReplaceWeight(Role::kDown, at::zeros({2, 2})));
  EXPECT_ANY_THROW(block.ReplaceWeight(Role::kDown, block.weight(Role::kDown).to(at::kBFloat16)));
}

TEST_F(LoadedBlock, KnowsItsTensors) {
  const Block block = *Block::Load(spec_, 1, weights_);
  EXPECT_TRUE(at::equal(block.weight(Role::kQuery), weights_.tensors.at("model.layers.1.self_attn.q_proj.weight")));
  EXPECT_TRUE(at::equal(block.bias(Role::kQuery), weights_.tensors.at("model.layers.1.self_attn.q_proj.bias")));
  EXPECT_FALSE(block.bias(Role::kDown).defined());
  EXPECT_ANY_THROW(block.weight(Role::kHead));
  int64_t bytes = 0;
  for (const auto& [name, tensor] : weights_.tensors) {
    if (name.starts_with("model.layers.1.")) bytes += static_cast<int64_t>(tensor.nbytes());
  }
  EXPECT_EQ(block.Bytes(), bytes);
}

TEST_F(LoadedBlock, LeavesNoGraphBehind) {
  const Block block = *Block::Load(spec_, 0, weights_);
  at::Tensor hidden = at::randn({1, 4, spec_.hidden});
  hidden.set_requires_grad(true);
  EXPECT_FALSE(block.Forward(hidden, MakeRotaryTable(spec_, 4, at::kCPU)).requires_grad());
}

TEST_F(LoadedBlock, SaysWhichTensorIsMissing) {
  weights_.tensors.erase("model.layers.0.mlp.up_proj.weight");
  const absl::StatusOr<Block> block = Block::Load(spec_, 0, weights_);
  ASSERT_FALSE(block.ok());
  EXPECT_EQ(ErrorReason(block.status()), reason::kSourceModelCorrupt);
}

TEST(Outer, EmbedsAndScoresWithTheRightTensors) {
  for (const bool tied : {false, true}) {
    arch::ArchSpec spec = SmallSpec("llama");
    spec.tied_embeddings = tied;
    const MemoryWeights weights(spec, at::kFloat);
    const absl::StatusOr<Embedding> embedding = Embedding::Load(spec, weights);
    const absl::StatusOr<Head> head = Head::Load(spec, weights);
    ASSERT_TRUE(embedding.ok() && head.ok()) << embedding.status() << head.status();
    const at::Tensor table = weights.tensors.at("model.embed_tokens.weight");
    const at::Tensor ids = at::randint(spec.vocabulary, {2, 5}, at::kLong);
    const at::Tensor hidden = embedding->Forward(ids);
    ASSERT_EQ(hidden.sizes(), (at::IntArrayRef{2, 5, spec.hidden}));
    EXPECT_TRUE(at::equal(hidden[1][3], table[ids[1][3].item<int64_t>()]));
    const at::Tensor normed =
        hidden / (hidden.square().mean(-1, true) + spec.norm_eps).sqrt() * weights.tensors.at("model.norm.weight");
    const at::Tensor matrix = tied ? table : weights.tensors.at("lm_head.weight");
    EXPECT_LT(Worst(head->Forward(hidden), at::matmul(normed, matrix.t())), 1e-4);
  }
}

}  // namespace
}  // namespace calipress::model
