#include <array>

#include "compress/arch/families/family.h"

namespace calipress::arch {
namespace {

constexpr std::array<PartName, 9> kParts = {{
    {Role::kInputNorm, "input_layernorm"},
    {Role::kQuery, "self_attn.q_proj"},
    {Role::kKey, "self_attn.k_proj"},
    {Role::kValue, "self_attn.v_proj"},
    {Role::kOutput, "self_attn.o_proj"},
    {Role::kPostAttentionNorm, "post_attention_layernorm"},
    {Role::kGate, "mlp.gate_proj"},
    {Role::kUp, "mlp.up_proj"},
    {Role::kDown, "mlp.down_proj"},
}};

constexpr std::array<PartName, 11> kPartsWithQkNorm = {{
    {Role::kInputNorm, "input_layernorm"},
    {Role::kQuery, "self_attn.q_proj"},
    {Role::kKey, "self_attn.k_proj"},
    {Role::kValue, "self_attn.v_proj"},
    {Role::kQueryNorm, "self_attn.q_norm"},
    {Role::kKeyNorm, "self_attn.k_norm"},
    {Role::kOutput, "self_attn.o_proj"},
    {Role::kPostAttentionNorm, "post_attention_layernorm"},
    {Role::kGate, "mlp.gate_proj"},
    {Role::kUp, "mlp.up_proj"},
    {Role::kDown, "mlp.down_proj"},
}};

}  // namespace

constinit const Names kLlamaNames = {"model.embed_tokens", "model.norm", "lm_head", "model.layers.", kParts};
constinit const Names kLlamaNamesWithQkNorm = {"model.embed_tokens", "model.norm", "lm_head", "model.layers.",
                                               kPartsWithQkNorm};

}  // namespace calipress::arch
