#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/arch/arch.h"
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::model {

// How the input of a linear is rounded when the model runs; nothing where mode is kNone.
struct InputQuantization {
  checkpoint::Activations mode = checkpoint::Activations::kNone;
  checkpoint::NumberType type = checkpoint::NumberType::kInt;
  bool blocks = false;  // dynamic: a scale per token and kBlockSize columns, instead of one per token
  at::Tensor scale;     // static: [1]
};

// Where a model's parts get their tensors: a checkpoint, plain or quantized (then dequantized). Thread-safe.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // The tensor in the dtype and on the device the forward runs in. SOURCE_MODEL_CORRUPT where it is missing or has
  // another shape; NON_FINITE_WEIGHTS where it has NaN or Inf; both with the name.
  virtual absl::StatusOr<at::Tensor> Load(const arch::TensorSpec& tensor) const = 0;
  // Of the linear that the weight is of.
  virtual absl::StatusOr<InputQuantization> LoadInputs(const arch::TensorSpec& /*weight*/) const {
    return InputQuantization();
  }
};

// Cosines and sines for positions 0..length-1, [length, head_dim] each, fp32; made once per sequence length.
struct RotaryTable {
  at::Tensor cos;
  at::Tensor sin;
};
RotaryTable MakeRotaryTable(const arch::ArchSpec& spec, int64_t length, at::Device device);

// One transformer block, cut where linears take their inputs, so that a caller can gather statistics and replace
// weights between the cuts. Hidden states are [batch, length, hidden] in the block's dtype; a linear's input has the
// same leading dimensions. Agrees with transformers' modules, operation by operation, in the same dtype.
// Not thread-safe while weights are replaced; tensors throw on misuse (see tensor/guard).
class Block {
 public:
  // `quantize_inputs`: linears round their inputs as programs do that run the checkpoint. Calibration does not: methods
  // want the activations as they are.
  static absl::StatusOr<Block> Load(const arch::ArchSpec& spec, int64_t index, const WeightSource& source,
                                    bool quantize_inputs = false);

  at::Tensor AttentionInput(const at::Tensor& hidden) const;                             // input 0: normed
  at::Tensor AttentionOutput(const at::Tensor& input, const RotaryTable& rotary) const;  // input 1: q,k,v and attention
  at::Tensor AddAttention(const at::Tensor& hidden, const at::Tensor& heads) const;      // hidden + o_proj(heads)
  at::Tensor MlpInput(const at::Tensor& hidden) const;                                   // input 2: normed
  at::Tensor MlpActivation(const at::Tensor& input) const;                               // input 3: act(gate) * up
  at::Tensor AddMlp(const at::Tensor& hidden, const at::Tensor& activation) const;  // hidden + down_proj(activation)

  // All of it.
  at::Tensor Forward(const at::Tensor& hidden, const RotaryTable& rotary) const;

  const at::Tensor& weight(arch::Role role) const;
  void ReplaceWeight(arch::Role role, at::Tensor weight);
  // Null tensor where there is none.
  at::Tensor bias(arch::Role role) const;
  void ReplaceBias(arch::Role role, at::Tensor bias);
  int64_t index() const { return index_; }
  int64_t Bytes() const;

 private:
  Block() = default;
  at::Tensor Project(arch::Role role, const at::Tensor& input) const;
  const arch::ArchSpec* spec_ = nullptr;  // the caller's; outlives the block
  int64_t index_ = 0;
  std::map<arch::Role, at::Tensor> weights_;
  std::map<arch::Role, at::Tensor> biases_;
  std::map<arch::Role, InputQuantization> inputs_;  // of the linears that round their inputs
};

// Token embedding: ids int64 [batch, length] -> hidden states.
class Embedding {
 public:
  static absl::StatusOr<Embedding> Load(const arch::ArchSpec& spec, const WeightSource& source);
  at::Tensor Forward(const at::Tensor& ids) const;

 private:
  at::Tensor weight_;
};

// Final norm and head: hidden states -> logits in the model's dtype.
class Head {
 public:
  static absl::StatusOr<Head> Load(const arch::ArchSpec& spec, const WeightSource& source);
  at::Tensor Forward(const at::Tensor& hidden) const;
  // The logits of a decoding step: [rows, hidden] -> [rows, vocabulary], rows as BlockDecoder's.
  at::Tensor Step(const at::Tensor& hidden) const;

 private:
  at::Tensor norm_;
  at::Tensor weight_;
  double eps_ = 1e-6;
};

}  // namespace calipress::model
