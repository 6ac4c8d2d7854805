#include "compress/engine/block_transform.h"

#include <algorithm>

#include "compress/base/status_macros.h"

namespace calipress::engine {

using arch::Role;

absl::StatusOr<std::vector<std::string>> TransformBlock(const arch::ArchSpec& spec,
                                                        const std::vector<TransformStep>& steps,
                                                        std::array<method::InputStatistics, 4>& statistics,
                                                        model::Block& block,
                                                        std::map<std::string, at::Tensor>* changed) {
  std::vector<std::string> warnings;
  const auto linears = arch::BlockLinears(spec, block.index());
  for (const TransformStep& step : steps) {
    method::TransformBlock view;
    view.index = block.index();
    view.heads = spec.heads;
    view.kv_heads = spec.kv_heads;
    view.head_dim = spec.head_dim;
    view.statistics = &statistics;
    view.input_norm = block.weight(Role::kInputNorm);
    view.post_attention_norm = block.weight(Role::kPostAttentionNorm);
    for (const auto& linear : linears) {
      view.linears.push_back({std::string(arch::RoleName(linear.role)), linear.input, block.weight(linear.role),
                              block.bias(linear.role),
                              std::find(step.roles.begin(), step.roles.end(), linear.role) != step.roles.end()});
    }
    CALIPRESS_ASSIGN_OR_RETURN(std::vector<std::string> told, step.transform->Apply(view));
    for (std::string& warning : told) warnings.push_back(std::move(warning));

    for (const auto& tensor : arch::BlockTensors(spec, block.index())) {
      at::Tensor now;
      const bool is_bias = tensor.name.ends_with(".bias");
      if (tensor.role == Role::kInputNorm) now = view.input_norm;
      if (tensor.role == Role::kPostAttentionNorm) now = view.post_attention_norm;
      for (size_t i = 0; i < linears.size(); ++i) {
        if (linears[i].role == tensor.role) now = is_bias ? view.linears[i].bias : view.linears[i].weight;
      }
      const at::Tensor& before = is_bias ? block.bias(tensor.role) : block.weight(tensor.role);
      if (!now.defined() || now.is_same(before)) continue;
      if (is_bias) {
        block.ReplaceBias(tensor.role, now);
      } else {
        block.ReplaceWeight(tensor.role, now);
      }
      (*changed)[tensor.name] = now;
    }
  }
  return warnings;
}

}  // namespace calipress::engine
