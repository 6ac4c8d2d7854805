#include "compress/arch/families/family.h"

namespace calipress::arch {

// transformers 5.17, models/llama/configuration_llama.py and modeling_llama.py.
constinit const Family kLlama = {
    .name = "llama",
    .model_type = "llama",
    .defaults = {.vocabulary = 32000,
                 .hidden = 4096,
                 .intermediate = 11008,
                 .blocks = 32,
                 .heads = 32,
                 .kv_heads = 0,
                 .head_dim = 0,
                 .max_positions = 2048,
                 .norm_eps = 1e-6,
                 .rope_theta = 10000.0,
                 .sliding_window = 0,
                 .max_window_layers = 0},
    .heads_divide_hidden = true,
    .qkv_bias = Bias::kConfig,
    .o_bias = Bias::kConfig,
    .mlp_bias = Bias::kConfig,
    .qk_norm = false,
    .windows = Windows::kNone,
    .refuses_layer_types = false,
    .names = kLlamaNames,
};

}  // namespace calipress::arch
