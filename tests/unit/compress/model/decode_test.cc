#include "compress/model/decode.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "compress/model/decode_linear.h"
#include "tests/unit/compress/model/testing_weights.h"

namespace calipress::model {
namespace {

at::Tensor Bits(const at::Tensor& tensor) {
  return tensor.contiguous().view(tensor.scalar_type() == at::kFloat ? at::kInt : at::kShort);
}

bool SameBits(const at::Tensor& a, const at::Tensor& b) { return at::equal(Bits(a), Bits(b)); }

TEST(DecodeLinear, EveryInstructionSetGivesTheSameBits) {
  at::manual_seed(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const auto& [in, out] : {std::pair<int64_t, int64_t>{64, 40}, {300, 77}, {129, 3}}) {
      const at::Tensor rows = at::randn({kDecodeRows, in}).to(dtype);
      const at::Tensor weight = at::randn({out, in}).to(dtype);
      const at::Tensor bias = at::randn({out}).to(dtype);
      const DecodePack pack = PackRows(rows);
      const at::Tensor expected = at::linear(rows.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
      at::Tensor first;
      for (int i = 0; i < AvailableDecodeTiles().count; ++i) {
        const at::Tensor found = UnpackRows(MultiplyRows(pack, weight, bias, *AvailableDecodeTiles().tiles[i]), dtype);
        if (i == 0) first = found;
        EXPECT_TRUE(SameBits(found, first)) << AvailableDecodeTiles().tiles[i]->name;
        const double tolerance = dtype == at::kFloat ? 1e-4 : dtype == at::kHalf ? 0.02 : 0.2;
        EXPECT_TRUE(at::allclose(found.to(at::kDouble), expected, 0.0, tolerance)) << c10::toString(dtype);
      }
    }
  }
}

TEST(DecodeLinear, PacksComeBack) {
  const at::Tensor wide = at::cat({at::randn({kDecodeRows, 50}) * 1e-6, at::randn({kDecodeRows, 23}) * 3e4}, 1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor rows = wide.to(dtype);
    EXPECT_TRUE(SameBits(UnpackRows(PackRows(rows), dtype), rows)) << c10::toString(dtype);
    EXPECT_TRUE(SameBits(UnpackRows(PackRows(wide), dtype), rows)) << "not rounded as ATen: " << c10::toString(dtype);
  }
}

class Decoding : public ::testing::Test {
 protected:
  static Block Load(const arch::ArchSpec& spec, const MemoryWeights& weights, int64_t index) {
    auto block = Block::Load(spec, index, weights);
    EXPECT_TRUE(block.ok()) << block.status();
    return *std::move(block);
  }

  static arch::ArchSpec Spec(const std::string& family) {
    arch::ArchSpec spec = SmallSpec(family);
    spec.sliding_window.assign(spec.blocks, 0);
    spec.sliding_window[0] = 7;
    return spec;
  }

  // The outputs of `texts` [rows, length, hidden] token by token; rows of one group, from `first` on.
  static at::Tensor Decode(BlockDecoder& decoder, const arch::ArchSpec& spec, const at::Tensor& texts, int64_t first,
                           int64_t group = 0) {
    const int64_t length = texts.size(1);
    const RotaryTable table = MakeRotaryTable(spec, length, at::kCPU);
    at::Tensor out = at::empty_like(texts);
    for (int64_t position = 0; position < length; ++position) {
      at::Tensor hidden = at::zeros({kDecodeRows, texts.size(2)}, texts.options());
      std::vector<int64_t> positions(kDecodeRows, -1);
      for (int64_t row = 0; row < texts.size(0); ++row) {
        hidden[first + row] = texts[row][position];
        positions[first + row] = position;
      }
      const at::Tensor stepped = decoder.Step({&group, 1}, hidden, MakeDecodePositions(positions, table));
      out.select(1, position).copy_(stepped.narrow(0, first, texts.size(0)));
    }
    return out;
  }
};

class DecodeTest : public Decoding, public ::testing::WithParamInterface<at::ScalarType> {};

TEST_P(DecodeTest, AgreesWithTheForward) {
  at::manual_seed(2);
  constexpr int64_t kLength = 150;  // two blocks of keys and a part
  for (const std::string family : {"llama", "mistral", "qwen2", "qwen3"}) {
    const arch::ArchSpec spec = Spec(family);
    const MemoryWeights weights(spec, GetParam());
    for (const int64_t index : {0, 1}) {
      const at::Tensor texts = at::randn({3, kLength, spec.hidden}).to(GetParam());
      BlockDecoder decoder(spec, Load(spec, weights, index), 1, kLength);
      const at::Tensor found = Decode(decoder, spec, texts, 4).to(at::kFloat);
      const at::Tensor expected =
          Load(spec, weights, index).Forward(texts, MakeRotaryTable(spec, kLength, at::kCPU)).to(at::kFloat);
      const double tolerance = GetParam() == at::kFloat ? 1e-5 : GetParam() == at::kHalf ? 4e-3 : 3e-2;
      EXPECT_LT((found - expected).norm().item<double>() / expected.norm().item<double>(), tolerance)
          << family << " block " << index;
    }
  }
}

TEST_P(DecodeTest, ARowDependsOnItselfAlone) {
  at::manual_seed(3);
  const arch::ArchSpec spec = Spec("qwen3");
  const MemoryWeights weights(spec, GetParam());
  const at::Tensor texts = at::randn({kDecodeRows, 9, spec.hidden}).to(GetParam());
  const int threads = at::get_num_threads();
  BlockDecoder together(spec, Load(spec, weights, 0), 2, 9);
  const at::Tensor expected = Decode(together, spec, texts, 0);
  at::set_num_threads(threads == 1 ? 2 : 1);
  BlockDecoder alone(spec, Load(spec, weights, 0), 2, 40);
  Decode(alone, spec, texts.flip(0), 0, 1);  // what was there before does not matter
  EXPECT_TRUE(SameBits(Decode(alone, spec, texts.narrow(0, 5, 1), 30, 1), expected.narrow(0, 5, 1)));
  EXPECT_TRUE(SameBits(Decode(alone, spec, texts.narrow(0, 5, 3), 0, 0), expected.narrow(0, 5, 3)));
  at::set_num_threads(threads);
}

TEST_P(DecodeTest, GroupsStepTogetherAsEachAlone) {
  at::manual_seed(5);
  const arch::ArchSpec spec = Spec("qwen3");
  const MemoryWeights weights(spec, GetParam());
  constexpr int64_t kLength = 70;  // more than a block of keys
  const RotaryTable table = MakeRotaryTable(spec, kLength, at::kCPU);
  BlockDecoder pair(spec, Load(spec, weights, 1), 3, kLength), single(spec, Load(spec, weights, 1), 3, kLength);
  const std::vector<int64_t> groups = {2, 0};
  for (int64_t position = 0; position < kLength; ++position) {
    const at::Tensor hidden = at::randn({2 * kDecodeRows, spec.hidden}).to(GetParam());
    std::vector<int64_t> positions(2 * kDecodeRows, position);
    positions[kDecodeRows + 3] = -1;
    const at::Tensor found = pair.Step(groups, hidden, MakeDecodePositions(positions, table));
    for (int64_t i = 0; i < 2; ++i) {
      const auto begin = positions.begin() + i * kDecodeRows;
      const at::Tensor alone =
          single.Step({&groups[i], 1}, hidden.narrow(0, i * kDecodeRows, kDecodeRows),
                      MakeDecodePositions(std::vector<int64_t>(begin, begin + kDecodeRows), table));
      ASSERT_TRUE(SameBits(found.narrow(0, i * kDecodeRows, kDecodeRows), alone)) << "token " << position;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, DecodeTest, ::testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

// What other devices run.
TEST_F(Decoding, OperationsAgreeWithKernels) {
  at::manual_seed(4);
  const arch::ArchSpec spec = Spec("llama");
  const MemoryWeights wide(spec, at::kDouble);
  MemoryWeights narrow = wide;
  for (auto& [name, tensor] : narrow.tensors) tensor = tensor.to(at::kFloat);
  const at::Tensor texts = at::randn({5, 15, spec.hidden});
  BlockDecoder kernels(spec, Load(spec, narrow, 0), 1, 15), operations(spec, Load(spec, wide, 0), 1, 15);
  const at::Tensor found = Decode(operations, spec, texts.to(at::kDouble), 2).to(at::kFloat);
  EXPECT_TRUE(at::allclose(found, Decode(kernels, spec, texts, 2), 1e-4, 1e-4));
}

}  // namespace
}  // namespace calipress::model
