#include "compress/arch/families/family.h"

namespace calipress::arch {

// transformers 5.17, models/qwen3: head_dim is 128 unless given, never derived.
constinit const Family kQwen3 = {
    .name = "qwen3",
    .model_type = "qwen3",
    .defaults = {.vocabulary = 151936,
                 .hidden = 4096,
                 .intermediate = 22016,
                 .blocks = 32,
                 .heads = 32,
                 .kv_heads = 32,
                 .head_dim = 128,
                 .max_positions = 32768,
                 .norm_eps = 1e-6,
                 .rope_theta = 10000.0,
                 .sliding_window = 4096,
                 .max_window_layers = 28},
    .heads_divide_hidden = false,
    .qkv_bias = Bias::kConfig,
    .o_bias = Bias::kConfig,
    .mlp_bias = Bias::kNone,
    .qk_norm = true,
    .windows = Windows::kByLayerType,
    .refuses_layer_types = false,
    .names = kLlamaNamesWithQkNorm,
};

}  // namespace calipress::arch
