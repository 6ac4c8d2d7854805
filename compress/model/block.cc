#include "compress/model/block.h"

#include <string_view>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "compress/base/status_macros.h"
#include "compress/model/attention.h"
#include "compress/model/gated.h"
#include "compress/model/input_rounding.h"
#include "compress/model/linear.h"
#include "compress/model/rms_norm.h"
#include "compress/model/rotary.h"

namespace calipress::model {
namespace {

using arch::Role;

constexpr std::string_view kBiasSuffix = ".bias";

}  // namespace

absl::StatusOr<Block> Block::Load(const arch::ArchSpec& spec, int64_t index, const WeightSource& source,
                                  bool quantize_inputs) {
  Block block;
  block.spec_ = &spec;
  block.index_ = index;
  for (const arch::TensorSpec& tensor : arch::BlockTensors(spec, index)) {
    CALIPRESS_ASSIGN_OR_RETURN(at::Tensor loaded, source.Load(tensor));
    const bool is_bias = std::string_view(tensor.name).ends_with(kBiasSuffix);
    (is_bias ? block.biases_ : block.weights_)[tensor.role] = std::move(loaded);
    if (!quantize_inputs || is_bias || !arch::IsLinear(tensor.role)) continue;
    CALIPRESS_ASSIGN_OR_RETURN(InputQuantization inputs, source.LoadInputs(tensor));
    if (inputs.mode != checkpoint::Activations::kNone) block.inputs_[tensor.role] = std::move(inputs);
  }
  return block;
}

at::Tensor Block::Project(Role role, const at::Tensor& input) const {
  const auto rounding = inputs_.find(role);
  return Linear(rounding == inputs_.end() ? input : RoundInput(input, rounding->second), weight(role), bias(role));
}

at::Tensor Block::AttentionInput(const at::Tensor& hidden) const {
  const c10::NoGradGuard no_grad;
  return RmsNorm(hidden, weight(Role::kInputNorm), spec_->norm_eps);
}

at::Tensor Block::AttentionOutput(const at::Tensor& input, const RotaryTable& rotary) const {
  const c10::NoGradGuard no_grad;
  const int64_t batch = input.size(0);
  const int64_t length = input.size(1);
  const auto project = [&](Role role, int64_t heads) {
    return Project(role, input).view({batch, length, heads, spec_->head_dim});
  };
  at::Tensor query = project(Role::kQuery, spec_->heads);
  at::Tensor key = project(Role::kKey, spec_->kv_heads);
  const at::Tensor value = project(Role::kValue, spec_->kv_heads);
  if (spec_->qk_norm) {
    RmsNormInPlace(query, weight(Role::kQueryNorm), spec_->norm_eps);
    RmsNormInPlace(key, weight(Role::kKeyNorm), spec_->norm_eps);
  }
  ApplyRotary(query, rotary.cos, rotary.sin);
  ApplyRotary(key, rotary.cos, rotary.sin);
  const int64_t window = spec_->sliding_window.empty() ? 0 : spec_->sliding_window.at(index_);
  return CausalAttention(query, key, value, window);
}

at::Tensor Block::AddAttention(const at::Tensor& hidden, const at::Tensor& heads) const {
  const c10::NoGradGuard no_grad;
  return Project(Role::kOutput, heads).add_(hidden);
}

at::Tensor Block::MlpInput(const at::Tensor& hidden) const {
  const c10::NoGradGuard no_grad;
  return RmsNorm(hidden, weight(Role::kPostAttentionNorm), spec_->norm_eps);
}

at::Tensor Block::MlpActivation(const at::Tensor& input) const {
  const c10::NoGradGuard no_grad;
  at::Tensor gate = Project(Role::kGate, input);
  const at::Tensor up = Project(Role::kUp, input);
  return GatedActivation(spec_->activation, std::move(gate), up);
}

at::Tensor Block::AddMlp(const at::Tensor& hidden, const at::Tensor& activation) const {
  const c10::NoGradGuard no_grad;
  return Project(Role::kDown, activation).add_(hidden);
}

at::Tensor Block::Forward(const at::Tensor& hidden, const RotaryTable& rotary) const {
  const at::Tensor attended = AddAttention(hidden, AttentionOutput(AttentionInput(hidden), rotary));
  return AddMlp(attended, MlpActivation(MlpInput(attended)));
}

const at::Tensor& Block::weight(Role role) const {
  const auto found = weights_.find(role);
  TORCH_CHECK(found != weights_.end(), "block ", index_, " has no ", std::string(arch::RoleName(role)));
  return found->second;
}

void Block::ReplaceWeight(Role role, at::Tensor weight) {
  const at::Tensor& old = this->weight(role);
  TORCH_CHECK(weight.sizes() == old.sizes() && weight.scalar_type() == old.scalar_type(), "block ", index_,
              ": the new ", std::string(arch::RoleName(role)), " has another shape or dtype than the old one");
  weights_[role] = std::move(weight);
}

void Block::ReplaceBias(Role role, at::Tensor bias) {
  const auto found = biases_.find(role);
  TORCH_CHECK(found != biases_.end() && bias.sizes() == found->second.sizes() &&
                  bias.scalar_type() == found->second.scalar_type(),
              "block ", index_, ": the new bias of ", std::string(arch::RoleName(role)),
              " has another shape or dtype than the old one");
  found->second = std::move(bias);
}

at::Tensor Block::bias(Role role) const {
  const auto found = biases_.find(role);
  return found == biases_.end() ? at::Tensor() : found->second;
}

int64_t Block::Bytes() const {
  int64_t bytes = 0;
  for (const auto* tensors : {&weights_, &biases_}) {
    for (const auto& [role, tensor] : *tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  }
  return bytes;
}

}  // namespace calipress::model
