#include "compress/arch/families/family.h"

namespace calipress::arch {

// transformers 5.17, models/qwen2: query, key and value always have a bias, whatever attention_bias says.
constinit const Family kQwen2 = {
    .name = "qwen2",
    .model_type = "qwen2",
    .defaults = {.vocabulary = 151936,
                 .hidden = 4096,
                 .intermediate = 22016,
                 .blocks = 32,
                 .heads = 32,
                 .kv_heads = 32,
                 .head_dim = 0,
                 .max_positions = 32768,
                 .norm_eps = 1e-6,
                 .rope_theta = 10000.0,
                 .sliding_window = 4096,
                 .max_window_layers = 28},
    .heads_divide_hidden = false,
    .qkv_bias = Bias::kAlways,
    .o_bias = Bias::kNone,
    .mlp_bias = Bias::kNone,
    .qk_norm = false,
    .windows = Windows::kByLayerType,
    .refuses_layer_types = false,
    .names = kLlamaNames,
};

}  // namespace calipress::arch
