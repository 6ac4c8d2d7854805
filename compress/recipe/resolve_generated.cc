#include <algorithm>

#include "compress/recipe/part_checks.h"

namespace calipress::recipe {
namespace {

// A default is written only where nothing is.
#define CALIPRESS_DEFAULT(message, field, value) \
  if (!(message)->has_##field()) (message)->set_##field(value)

void ResolveSelf(v1::SelfGeneratedSource* source) {
  CALIPRESS_DEFAULT(source, initial_temperature, 1.0);
  CALIPRESS_DEFAULT(source, final_temperature, 1.0);
  CALIPRESS_DEFAULT(source, schedule_tokens, 10);
  CALIPRESS_DEFAULT(source, top_k, 0);
  CALIPRESS_DEFAULT(source, top_p, 1.0);
  if (source->first_tokens() == v1::FIRST_TOKENS_UNSPECIFIED) source->set_first_tokens(v1::FIRST_TOKENS_ANY);
}

void ResolvePrefix(int32_t sequence_length, v1::PrefixGeneratedSource* source) {
  if (source->prefixes().field().empty()) source->mutable_prefixes()->set_field("text");
  if (source->prefixes().layout() == v1::TEXT_LAYOUT_UNSPECIFIED) {
    source->mutable_prefixes()->set_layout(v1::TEXT_LAYOUT_PACK);
  }
  CALIPRESS_DEFAULT(source, prefix_tokens, 2);
  CALIPRESS_DEFAULT(source, max_new_tokens, std::max(1, sequence_length - source->prefix_tokens()));
  CALIPRESS_DEFAULT(source, temperature, 0.6);
  CALIPRESS_DEFAULT(source, top_p, 0.95);
  CALIPRESS_DEFAULT(source, top_k, 50);
  CALIPRESS_DEFAULT(source, repetition_penalty, 1.2);
  CALIPRESS_DEFAULT(source, drop_share, 0.2);
}

#undef CALIPRESS_DEFAULT

}  // namespace

void ResolveGenerated(int32_t sequence_length, v1::CalibrationSource* source) {
  if (source->has_self_generated()) ResolveSelf(source->mutable_self_generated());
  if (source->has_prefix_generated()) ResolvePrefix(sequence_length, source->mutable_prefix_generated());
}

}  // namespace calipress::recipe
