#include <algorithm>

#include "compress/recipe/calibration_plan.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/recipe.h"
#include "compress/recipe/resolve_parts.h"

namespace calipress::recipe {
namespace {

// Tokens whose perplexity is reported: of small sets enough to tell sources apart, of large ones a small share of what
// the calibration takes.
constexpr int32_t kLeastScoredTokens = 1024;
constexpr int32_t kScoredShare = 32;

int32_t DefaultScoredTokens(const v1::Calibration& calibration) {
  const int64_t tokens = int64_t{calibration.samples()} * calibration.sequence_length();
  return static_cast<int32_t>(std::max<int64_t>(kLeastScoredTokens, tokens / kScoredShare));
}

// A field with documents, and how they become sequences.
template <typename Source>
void ResolveDocuments(const char* field, Source* source) {
  if (source->field().empty()) source->set_field(field);
  if (source->layout() == v1::TEXT_LAYOUT_UNSPECIFIED) source->set_layout(v1::TEXT_LAYOUT_PACK);
}

}  // namespace

void ResolveCalibration(int32_t default_length, v1::Calibration* calibration) {
  for (int i = 0; i < calibration->sources_size(); ++i) {
    v1::CalibrationSource* source = calibration->mutable_sources(i);
    if (source->has_text()) ResolveDocuments("text", source->mutable_text());
    if (source->has_instructions()) ResolveDocuments("messages", source->mutable_instructions());
    if (source->domain().empty()) source->set_domain(kDefaultDomain);
    source->set_seed(SourceSeed(*calibration, i));
    if (!source->has_samples() && !source->has_weight()) source->set_weight(1);
  }
  // The rows of a file of ids are what they are: where there is nothing else, its shape decides what is left open.
  const auto any = [&](auto&& predicate) {
    return calibration->sources_size() == 0 ||
           std::any_of(calibration->sources().begin(), calibration->sources().end(), predicate);
  };
  if (!calibration->has_samples() &&
      any([](const v1::CalibrationSource& source) { return !source.has_samples() && !source.has_token_ids(); })) {
    calibration->set_samples(kDefaultSamples);
  }
  if (!calibration->has_sequence_length() &&
      any([](const v1::CalibrationSource& source) { return !source.has_token_ids(); })) {
    calibration->set_sequence_length(default_length);
  }
  for (v1::CalibrationSource& source : *calibration->mutable_sources()) {
    ResolveGenerated(calibration->sequence_length(), &source);
  }
  if (calibration->has_sequence_length() && !calibration->has_micro_batch()) {
    calibration->set_micro_batch(DefaultMicroBatch(calibration->sequence_length()));
  }
  if (calibration->sources_size() > 0 && !calibration->has_scored_tokens()) {
    calibration->set_scored_tokens(DefaultScoredTokens(*calibration));
  }
}

}  // namespace calipress::recipe
