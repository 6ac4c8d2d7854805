#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "compress/arch/arch.h"

namespace calipress::arch {

// Where a linear's bias comes from.
enum class Bias {
  kNone,
  kAlways,
  kConfig,  // as `attention_bias` (attention) or `mlp_bias` (feed-forward) says
};

// How config.json says which blocks look back only so far.
enum class Windows {
  kNone,         // `sliding_window` has no effect
  kEveryBlock,   // `sliding_window` holds for all blocks
  kByLayerType,  // `use_sliding_window`, then `layer_types`, or `max_window_layers` without it
};

// A part of a block: its role and its path below the block's prefix.
struct PartName {
  Role role;
  std::string_view path;  // "self_attn.q_proj"
};

// Names in the checkpoint, without ".weight" and ".bias".
struct Names {
  std::string_view embedding;
  std::string_view final_norm;
  std::string_view head;
  std::string_view blocks;  // prefix, before "<index>."
  std::span<const PartName> parts;
};

// Values that transformers' configuration class has where config.json has none.
struct Defaults {
  int64_t vocabulary;
  int64_t hidden;
  int64_t intermediate;
  int64_t blocks;
  int64_t heads;
  int64_t kv_heads;  // 0: as many as heads
  int64_t head_dim;  // 0: hidden / heads
  int64_t max_positions;
  double norm_eps;
  double rope_theta;
  int64_t sliding_window;  // 0: none
  int64_t max_window_layers;
};

// A model family as data: one table for each lies in this folder, none has code.
struct Family {
  std::string_view name;
  std::string_view model_type;  // in config.json
  Defaults defaults;
  // The configuration class refuses a hidden size that the heads do not divide, even where head_dim is given.
  bool heads_divide_hidden;
  Bias qkv_bias;
  Bias o_bias;
  Bias mlp_bias;
  bool qk_norm;
  Windows windows;
  // `layer_types` makes transformers load another family's classes.
  bool refuses_layer_types;
  const Names& names;
};

// The names that Llama introduced and most families kept.
extern const Names kLlamaNames;
// With an RMS norm over each head's query and key.
extern const Names kLlamaNamesWithQkNorm;

extern const Family kLlama;
extern const Family kMistral;
extern const Family kQwen2;
extern const Family kQwen3;

// By model_type, or by the family's name (ArchSpec::family); null where there is none.
const Family* FindFamily(std::string_view model_type);
const Family* FamilyByName(std::string_view name);
std::span<const Family* const> AllFamilies();

}  // namespace calipress::arch
