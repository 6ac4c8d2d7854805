#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/arch/arch.h"
#include "compress/arch/config_fields.h"
#include "compress/arch/families/family.h"
#include "compress/arch/rope_config.h"
#include "compress/base/error.h"
#include "nlohmann/json.hpp"

namespace calipress::arch {
namespace {

using nlohmann::json;

// Above every known model, and low enough that products stay inside int64 and per-block tables stay small.
constexpr int64_t kMaxWidth = int64_t{1} << 24;
constexpr int64_t kMaxVocabulary = int64_t{1} << 28;
constexpr int64_t kMaxBlocks = 1 << 14;
constexpr int64_t kMaxHeads = 1 << 16;
constexpr int64_t kMaxHeadDim = 1 << 16;
constexpr int64_t kMaxPositions = int64_t{1} << 31;

constexpr std::pair<std::string_view, Activation> kActivations[] = {
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"gelu", Activation::kGelu},
    {"gelu_python", Activation::kGelu},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_python_tanh", Activation::kGeluTanh},
};

constexpr std::pair<std::string_view, Dtype> kDtypes[] = {
    {"bfloat16", Dtype::kBF16}, {"float16", Dtype::kF16}, {"half", Dtype::kF16},
    {"float32", Dtype::kF32},   {"float", Dtype::kF32},
};

void ReadSizes(const Family& family, ConfigFields* fields, ArchSpec* spec) {
  const Defaults& defaults = family.defaults;
  spec->hidden = fields->Integer("hidden_size", defaults.hidden, 1, kMaxWidth);
  spec->intermediate = fields->Integer("intermediate_size", defaults.intermediate, 1, kMaxWidth);
  spec->blocks = fields->Integer("num_hidden_layers", defaults.blocks, 1, kMaxBlocks);
  spec->heads = fields->Integer("num_attention_heads", defaults.heads, 1, kMaxHeads);
  spec->vocabulary = fields->Integer("vocab_size", defaults.vocabulary, 1, kMaxVocabulary);
  spec->max_positions = fields->Integer("max_position_embeddings", defaults.max_positions, 1, kMaxPositions);
  spec->norm_eps = fields->Number("rms_norm_eps", defaults.norm_eps, 0.0, 1.0);

  // A null means "as many as heads" in every family; an absent field means the class's default.
  const bool null_kv_heads = fields->HasKey("num_key_value_heads") && !fields->Has("num_key_value_heads");
  const int64_t default_kv_heads = defaults.kv_heads == 0 || null_kv_heads ? spec->heads : defaults.kv_heads;
  spec->kv_heads = fields->Integer("num_key_value_heads", default_kv_heads, 1, kMaxHeads);
  if (!fields->status().ok()) return;
  if (spec->heads % spec->kv_heads != 0) {
    fields->Corrupt("num_key_value_heads", absl::StrCat("is ", spec->kv_heads, ", which does not divide the ",
                                                        spec->heads, " of num_attention_heads"));
  }
  if (family.heads_divide_hidden && spec->hidden % spec->heads != 0) {
    fields->Corrupt("hidden_size", absl::StrCat("is ", spec->hidden, ", not a multiple of the ", spec->heads,
                                                " of num_attention_heads"));
  }
  if (defaults.head_dim == 0 && !fields->Has("head_dim") && spec->hidden < spec->heads) {
    fields->Corrupt("hidden_size",
                    absl::StrCat("is ", spec->hidden, ", less than the ", spec->heads, " of num_attention_heads"));
  }
  const int64_t derived = defaults.head_dim != 0 ? defaults.head_dim : spec->hidden / spec->heads;
  spec->head_dim = fields->Integer("head_dim", derived, 1, kMaxHeadDim);
  // The rotation pairs the two halves of a head.
  if (spec->head_dim % 2 != 0) fields->Corrupt("head_dim", absl::StrCat("must be even, but is ", spec->head_dim));
  // Its exponent is dim / (dim - 2).
  if (spec->rope_scaling.kind == RopeScaling::Kind::kDynamic && spec->head_dim == 2) {
    fields->Corrupt("head_dim", "must be above 2 for the rope type \"dynamic\"");
  }
}

bool HasBias(Bias bias, bool config) { return bias == Bias::kAlways || (bias == Bias::kConfig && config); }

void ReadSwitches(const Family& family, ConfigFields* fields, ArchSpec* spec) {
  const bool attention_bias = fields->Boolean("attention_bias", false);
  const bool mlp_bias = fields->Boolean("mlp_bias", false);
  spec->qkv_bias = HasBias(family.qkv_bias, attention_bias);
  spec->o_bias = HasBias(family.o_bias, attention_bias);
  spec->mlp_bias = HasBias(family.mlp_bias, mlp_bias);
  spec->qk_norm = family.qk_norm;
  spec->tied_embeddings = fields->Boolean("tie_word_embeddings", false);

  const std::string activation = fields->Text("hidden_act", "silu");
  const auto* found = std::find_if(std::begin(kActivations), std::end(kActivations),
                                   [&](const auto& entry) { return entry.first == activation; });
  if (found == std::end(kActivations)) {
    fields->Unsupported("hidden_act",
                        absl::StrCat("is \"", activation.substr(0, 40), "\"; supported: silu, gelu and its tanh form"));
    return;
  }
  spec->activation = found->second;
}

void ReadDtype(ConfigFields* fields, ArchSpec* spec) {
  // transformers 5 writes `dtype`, older ones `torch_dtype`; the new name wins. Without either torch's default holds.
  const std::string_view field = fields->Has("dtype") ? "dtype" : "torch_dtype";
  std::string name = fields->Text(field, "float32");
  if (name.rfind("torch.", 0) == 0) name.erase(0, 6);
  for (const auto& [known, dtype] : kDtypes) {
    if (name == known) {
      spec->dtype = dtype;
      return;
    }
  }
  fields->Unsupported(field, absl::StrCat("is \"", name.substr(0, 40), "\"; supported: bfloat16, float16, float32"));
}

// One entry per block of `layer_types`: whether it slides.
std::vector<bool> ReadLayerTypes(const json& list, ConfigFields* fields, int64_t blocks) {
  std::vector<bool> slides;
  if (!list.is_array() || static_cast<int64_t>(list.size()) != blocks) {
    fields->Corrupt("layer_types",
                    absl::StrCat("must be a list with one entry for each of the ", blocks, " of num_hidden_layers"));
    return slides;
  }
  for (const json& item : list) {
    const std::string name = item.is_string() ? item.get<std::string>() : "";
    if (name != "sliding_attention" && name != "full_attention" && name != "attention") {
      fields->Unsupported("layer_types", "has an entry other than full_attention and sliding_attention");
      return slides;
    }
    slides.push_back(name == "sliding_attention");
  }
  return slides;
}

void ReadWindows(const Family& family, ConfigFields* fields, ArchSpec* spec) {
  spec->sliding_window.assign(static_cast<size_t>(spec->blocks), 0);
  if (family.refuses_layer_types && fields->HasKey("layer_types")) {
    fields->Unsupported("layer_types",
                        absl::StrCat("makes this a ministral model for transformers, which calipress has "
                                     "no table for; supported: ",
                                     absl::StrJoin(KnownModelTypes(), ", ")));
    return;
  }
  if (family.windows == Windows::kNone) return;

  // Null switches it off; absent means the class's default.
  const int64_t absent = fields->HasKey("sliding_window") ? 0 : family.defaults.sliding_window;
  int64_t window = fields->Integer("sliding_window", absent, 1, kMaxPositions);
  if (family.windows == Windows::kEveryBlock) {
    std::fill(spec->sliding_window.begin(), spec->sliding_window.end(), window);
    return;
  }

  if (!fields->Boolean("use_sliding_window", false)) window = 0;
  const int64_t first = fields->Integer("max_window_layers", family.defaults.max_window_layers, 0, INT64_MAX);
  std::vector<bool> slides(static_cast<size_t>(spec->blocks));
  if (const json* list = fields->Raw("layer_types"); list != nullptr) {
    slides = ReadLayerTypes(*list, fields, spec->blocks);
  } else {
    for (int64_t block = first; window != 0 && block < spec->blocks; ++block) slides[static_cast<size_t>(block)] = true;
  }
  for (size_t block = 0; block < slides.size(); ++block) {
    if (!slides[block]) continue;
    if (window == 0) {
      fields->Corrupt("layer_types", "has sliding_attention, but use_sliding_window is off or sliding_window is null");
      return;
    }
    spec->sliding_window[block] = window;
  }
}

absl::StatusOr<json> ParseObject(std::string_view text) {
  json parsed;
  try {
    parsed = json::parse(text.begin(), text.end());
  } catch (const json::exception& error) {
    return PreconditionError(reason::kSourceModelCorrupt, absl::StrCat("config.json is not JSON: ", error.what()));
  }
  if (!parsed.is_object()) {
    return PreconditionError(reason::kSourceModelCorrupt, "config.json must hold a JSON object");
  }
  return parsed;
}

}  // namespace

absl::StatusOr<ArchSpec> ParseConfig(std::string_view config_json) {
  absl::StatusOr<json> parsed = ParseObject(config_json);
  if (!parsed.ok()) return parsed.status();
  ConfigFields fields(*parsed, "");
  ArchSpec spec;
  spec.model_type = fields.Text("model_type", "");
  if (!fields.status().ok()) return fields.status();
  if (spec.model_type.empty()) {
    return PreconditionError(
        reason::kSourceModelCorrupt,
        absl::StrCat("config.json: model_type is missing; supported: ", absl::StrJoin(KnownModelTypes(), ", ")));
  }
  const Family* family = FindFamily(spec.model_type);
  if (family == nullptr) {
    return PreconditionError(
        reason::kUnsupportedModel,
        absl::StrCat("config.json: model_type is \"", spec.model_type.substr(0, 60),
                     "\", which calipress has no table for; supported: ", absl::StrJoin(KnownModelTypes(), ", ")));
  }
  spec.family = std::string(family->name);
  spec.max_positions = fields.Integer("max_position_embeddings", family->defaults.max_positions, 1, kMaxPositions);
  ReadRope(family->defaults.rope_theta, &fields, &spec);
  ReadSizes(*family, &fields, &spec);
  ReadSwitches(*family, &fields, &spec);
  ReadDtype(&fields, &spec);
  if (!fields.status().ok()) return fields.status();
  ReadWindows(*family, &fields, &spec);
  if (!fields.status().ok()) return fields.status();
  return spec;
}

}  // namespace calipress::arch
