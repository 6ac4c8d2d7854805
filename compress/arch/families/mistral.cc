#include "compress/arch/families/family.h"

namespace calipress::arch {

// transformers 5.17, models/mistral. With layer_types AutoModel takes the ministral classes instead.
constinit const Family kMistral = {
    .name = "mistral",
    .model_type = "mistral",
    .defaults = {.vocabulary = 32000,
                 .hidden = 4096,
                 .intermediate = 14336,
                 .blocks = 32,
                 .heads = 32,
                 .kv_heads = 8,
                 .head_dim = 0,
                 .max_positions = 131072,
                 .norm_eps = 1e-6,
                 .rope_theta = 10000.0,
                 .sliding_window = 4096,
                 .max_window_layers = 0},
    .heads_divide_hidden = false,
    .qkv_bias = Bias::kNone,
    .o_bias = Bias::kNone,
    .mlp_bias = Bias::kNone,
    .qk_norm = false,
    .windows = Windows::kEveryBlock,
    .refuses_layer_types = true,
    .names = kLlamaNames,
};

}  // namespace calipress::arch
