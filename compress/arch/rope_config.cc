#include "compress/arch/rope_config.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace calipress::arch {
namespace {

using Kind = RopeScaling::Kind;

constexpr double kTiny = 1e-12;
constexpr double kHuge = 1e12;
constexpr int64_t kMaxPositions = int64_t{1} << 31;

constexpr std::pair<std::string_view, Kind> kKinds[] = {
    {"default", Kind::kNone},  {"linear", Kind::kLinear}, {"dynamic", Kind::kDynamic},
    {"llama3", Kind::kLlama3}, {"yarn", Kind::kYarn},
};

// A truthy object in Python's sense: rope_scaling wins over rope_parameters where it is one.
const nlohmann::json* NonEmptyObject(std::string_view field, ConfigFields* fields) {
  const nlohmann::json* value = fields->Raw(field);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) {
    fields->Corrupt(field, "must be an object");
    return nullptr;
  }
  return value->empty() ? nullptr : value;
}

double Required(std::string_view field, double low, double high, ConfigFields* rope) {
  const auto value = rope->OptionalNumber(field, low, high);
  if (!value) rope->Corrupt(field, "is missing for this rope type");
  return value.value_or(low);
}

void ReadYarn(const ArchSpec& spec, ConfigFields* rope, RopeScaling* scaling) {
  if (!rope->HasKey("factor")) rope->Corrupt("factor", "is missing for this rope type");
  // A null factor is the ratio of the two lengths (DeepSeek's way).
  scaling->factor =
      rope->OptionalNumber("factor", kTiny, kHuge)
          .value_or(static_cast<double>(spec.max_positions) / static_cast<double>(scaling->original_max_positions));
  scaling->attention_factor = rope->OptionalNumber("attention_factor", 0.0, kHuge);
  scaling->mscale = rope->OptionalNumber("mscale", 0.0, kHuge);
  scaling->mscale_all_dim = rope->OptionalNumber("mscale_all_dim", 0.0, kHuge);
  // Zero counts as not given, as in `get("beta_fast") or 32`.
  const double fast = rope->Number("beta_fast", 0.0, 0.0, kHuge);
  const double slow = rope->Number("beta_slow", 0.0, 0.0, kHuge);
  scaling->beta_fast = fast == 0.0 ? 32.0 : fast;
  scaling->beta_slow = slow == 0.0 ? 1.0 : slow;
  scaling->truncate = rope->Boolean("truncate", true);
}

void ReadLlama3(ConfigFields* rope, RopeScaling* scaling) {
  scaling->factor = Required("factor", kTiny, kHuge, rope);
  scaling->low_frequency_factor = Required("low_freq_factor", kTiny, kHuge, rope);
  scaling->high_frequency_factor = Required("high_freq_factor", kTiny, kHuge, rope);
  // The ramp between the two divides by their difference.
  if (scaling->high_frequency_factor <= scaling->low_frequency_factor) {
    rope->Corrupt("high_freq_factor", "must be above low_freq_factor");
  }
}

}  // namespace

void ReadRope(double default_theta, ConfigFields* fields, ArchSpec* spec) {
  static const nlohmann::json kEmpty = nlohmann::json::object();
  const nlohmann::json* old_style = NonEmptyObject("rope_scaling", fields);
  const nlohmann::json* new_style = NonEmptyObject("rope_parameters", fields);
  const nlohmann::json& object = old_style != nullptr ? *old_style : new_style != nullptr ? *new_style : kEmpty;
  ConfigFields rope(object, old_style != nullptr ? "rope_scaling." : "rope_parameters.");

  for (const std::string_view layer_type : {"full_attention", "sliding_attention"}) {
    if (rope.HasKey(layer_type)) rope.Unsupported(layer_type, "(a rotary embedding per layer type) is not supported");
  }

  // The object's value wins over the top level's.
  const double outer_theta = fields->Number("rope_theta", default_theta, kTiny, 1e30);
  spec->rope_theta = rope.Number("rope_theta", outer_theta, kTiny, 1e30);

  const std::string type_field = !rope.Has("rope_type") && rope.Has("type") ? "type" : "rope_type";
  const std::string type = rope.Text(type_field, "default");
  std::string known;
  const Kind* kind = nullptr;
  for (const auto& [name, value] : kKinds) {
    if (type == name) kind = &value;
    absl::StrAppend(&known, known.empty() ? "" : ", ", absl::string_view(name.data(), name.size()));
  }
  if (kind == nullptr) {
    rope.Unsupported(type_field, absl::StrCat("is \"", type.substr(0, 40), "\"; supported: ", known));
    fields->Merge(rope);
    return;
  }

  RopeScaling& scaling = spec->rope_scaling;
  scaling.kind = *kind;
  // Rotating a part of the head needs a forward that no family here has.
  for (ConfigFields* place : {fields, &rope}) {
    if (place->Number("partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0) {
      place->Unsupported("partial_rotary_factor", "other than 1 is not supported");
    }
  }
  if (scaling.kind == Kind::kLlama3 || scaling.kind == Kind::kYarn) {
    // Here the top level wins (Phi3's exception, which holds for all).
    const int64_t inner = rope.Integer("original_max_position_embeddings", spec->max_positions, 1, kMaxPositions);
    scaling.original_max_positions = fields->Integer("original_max_position_embeddings", inner, 1, kMaxPositions);
  }
  switch (scaling.kind) {
    case Kind::kNone:
      break;
    case Kind::kLinear:
    case Kind::kDynamic:
      scaling.factor = Required("factor", kTiny, kHuge, &rope);
      break;
    case Kind::kLlama3:
      ReadLlama3(&rope, &scaling);
      break;
    case Kind::kYarn:
      ReadYarn(*spec, &rope, &scaling);
      // The correction range divides by ln(theta).
      if (spec->rope_theta <= 1.0) rope.Corrupt("rope_theta", "must be above 1 for yarn");
      break;
  }
  fields->Merge(rope);
}

}  // namespace calipress::arch
