#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/arch/dtype.h"

namespace calipress::arch {

// Rotary frequency scaling as in transformers' modeling_rope_utils.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kDynamic, kLlama3, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  double low_frequency_factor = 1.0;       // llama3
  double high_frequency_factor = 4.0;      // llama3
  double beta_fast = 32.0;                 // yarn
  double beta_slow = 1.0;                  // yarn
  std::optional<double> attention_factor;  // yarn; default 0.1 ln(factor) + 1
  std::optional<double> mscale;            // yarn
  std::optional<double> mscale_all_dim;    // yarn
  bool truncate = true;                    // yarn
  int64_t original_max_positions = 0;      // llama3, yarn
};

enum class Activation { kSilu, kGelu, kGeluTanh };

// One model, from its config.json and its family's table. Plain data; a block forward needs nothing else.
struct ArchSpec {
  std::string family;      // "llama", "mistral", "qwen2", "qwen3"
  std::string model_type;  // as in config.json
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t blocks = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  double norm_eps = 1e-6;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  Activation activation = Activation::kSilu;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  // RMS norm of each head's query and key before the rotation (Qwen3)
  bool tied_embeddings = false;
  // Per block: tokens each position sees, itself included; 0: all.
  std::vector<int64_t> sliding_window;
  Dtype dtype = Dtype::kBF16;  // of the checkpoint, from config.json
};

// What a tensor is for.
enum class Role {
  kEmbedding,
  kFinalNorm,
  kHead,
  kInputNorm,
  kQuery,
  kKey,
  kValue,
  kQueryNorm,
  kKeyNorm,
  kOutput,
  kPostAttentionNorm,
  kGate,
  kUp,
  kDown,
};

// "q_proj" and so on, for progress lines.
std::string_view RoleName(Role role);
// A block's linear; the head is none.
bool IsLinear(Role role);

// A linear of a block. Linears of one `input` share their input activations, hence their statistics.
struct LinearSpec {
  Role role;
  std::string module;  // "model.layers.3.self_attn.q_proj"
  int64_t out = 0;
  int64_t in = 0;
  bool bias = false;
  int input = 0;  // 0: {q,k,v}, 1: {o}, 2: {gate,up}, 3: {down}
};

// One tensor that the checkpoint must have.
struct TensorSpec {
  Role role;
  std::string name;
  std::vector<int64_t> shape;
};

// Reads config.json. UNSUPPORTED_MODEL for an unknown model_type (the message lists those known) or an option without
// support; SOURCE_MODEL_CORRUPT names the field that is missing, of the wrong type or out of range.
absl::StatusOr<ArchSpec> ParseConfig(std::string_view config_json);

// In order of use, input 0 to 3.
std::vector<LinearSpec> BlockLinears(const ArchSpec& spec, int64_t block);

// Every tensor of a block: weights, biases, norms.
std::vector<TensorSpec> BlockTensors(const ArchSpec& spec, int64_t block);

// Embedding, final norm and, where it is not tied, the head.
std::vector<TensorSpec> OuterTensors(const ArchSpec& spec);

// The module path of the head, "lm_head", and of the blocks, "model.layers.".
std::string_view HeadModule(const ArchSpec& spec);
std::string BlockPrefix(const ArchSpec& spec, int64_t block);

// The families that ParseConfig knows, sorted.
std::vector<std::string> KnownModelTypes();

}  // namespace calipress::arch
