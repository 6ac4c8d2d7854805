#include "absl/strings/str_cat.h"
#include "compress/arch/arch.h"
#include "compress/arch/families/family.h"

namespace calipress::arch {
namespace {

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

const Names& NamesOf(const ArchSpec& spec) {
  const Family* family = FamilyByName(spec.family);
  return family == nullptr ? kLlamaNames : family->names;
}

LinearSpec Linear(const ArchSpec& spec, Role role, std::string module) {
  const int64_t query = spec.heads * spec.head_dim;
  const int64_t key = spec.kv_heads * spec.head_dim;
  switch (role) {
    case Role::kQuery:
      return {role, std::move(module), query, spec.hidden, spec.qkv_bias, 0};
    case Role::kKey:
    case Role::kValue:
      return {role, std::move(module), key, spec.hidden, spec.qkv_bias, 0};
    case Role::kOutput:
      return {role, std::move(module), spec.hidden, query, spec.o_bias, 1};
    case Role::kGate:
    case Role::kUp:
      return {role, std::move(module), spec.intermediate, spec.hidden, spec.mlp_bias, 2};
    default:
      return {role, std::move(module), spec.hidden, spec.intermediate, spec.mlp_bias, 3};
  }
}

}  // namespace

bool IsLinear(Role role) {
  switch (role) {
    case Role::kQuery:
    case Role::kKey:
    case Role::kValue:
    case Role::kOutput:
    case Role::kGate:
    case Role::kUp:
    case Role::kDown:
      return true;
    default:
      return false;
  }
}

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kEmbedding:
      return "embed_tokens";
    case Role::kFinalNorm:
      return "norm";
    case Role::kHead:
      return "lm_head";
    case Role::kInputNorm:
      return "input_layernorm";
    case Role::kQuery:
      return "q_proj";
    case Role::kKey:
      return "k_proj";
    case Role::kValue:
      return "v_proj";
    case Role::kQueryNorm:
      return "q_norm";
    case Role::kKeyNorm:
      return "k_norm";
    case Role::kOutput:
      return "o_proj";
    case Role::kPostAttentionNorm:
      return "post_attention_layernorm";
    case Role::kGate:
      return "gate_proj";
    case Role::kUp:
      return "up_proj";
    case Role::kDown:
      return "down_proj";
  }
  return "";
}

std::string BlockPrefix(const ArchSpec& spec, int64_t block) {
  return absl::StrCat(Absl(NamesOf(spec).blocks), block, ".");
}

std::string_view HeadModule(const ArchSpec& spec) { return NamesOf(spec).head; }

std::vector<LinearSpec> BlockLinears(const ArchSpec& spec, int64_t block) {
  const std::string prefix = BlockPrefix(spec, block);
  std::vector<LinearSpec> linears;
  // The tables list parts in order of use.
  for (const PartName& part : NamesOf(spec).parts) {
    if (IsLinear(part.role)) linears.push_back(Linear(spec, part.role, absl::StrCat(prefix, Absl(part.path))));
  }
  return linears;
}

std::vector<TensorSpec> BlockTensors(const ArchSpec& spec, int64_t block) {
  const std::string prefix = BlockPrefix(spec, block);
  std::vector<TensorSpec> tensors;
  for (const PartName& part : NamesOf(spec).parts) {
    const std::string module = absl::StrCat(prefix, Absl(part.path));
    if (!IsLinear(part.role)) {
      const bool per_head = part.role == Role::kQueryNorm || part.role == Role::kKeyNorm;
      tensors.push_back({part.role, absl::StrCat(module, ".weight"), {per_head ? spec.head_dim : spec.hidden}});
      continue;
    }
    const LinearSpec linear = Linear(spec, part.role, module);
    tensors.push_back({part.role, absl::StrCat(module, ".weight"), {linear.out, linear.in}});
    if (linear.bias) tensors.push_back({part.role, absl::StrCat(module, ".bias"), {linear.out}});
  }
  return tensors;
}

std::vector<TensorSpec> OuterTensors(const ArchSpec& spec) {
  const Names& names = NamesOf(spec);
  std::vector<TensorSpec> tensors = {
      {Role::kEmbedding, absl::StrCat(Absl(names.embedding), ".weight"), {spec.vocabulary, spec.hidden}},
      {Role::kFinalNorm, absl::StrCat(Absl(names.final_norm), ".weight"), {spec.hidden}},
  };
  if (!spec.tied_embeddings) {
    tensors.push_back({Role::kHead, absl::StrCat(Absl(names.head), ".weight"), {spec.vocabulary, spec.hidden}});
  }
  return tensors;
}

}  // namespace calipress::arch
