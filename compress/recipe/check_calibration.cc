#include "absl/strings/str_cat.h"
#include "compress/recipe/data_kind.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

// 2 GiB of ids.
constexpr int64_t kMaxCalibrationTokens = int64_t{1} << 28;

}  // namespace

void CheckSource(const v1::CalibrationSource& source, const std::string& path, const Refuse& refuse) {
  // Not available yet.
  if (!source.domain().empty() || source.has_weight() || source.has_samples() || source.has_seed() ||
      source.has_filter()) {
    refuse(path, "domain, weight, samples, seed and filter of a source are not available yet; remove them");
  }
  switch (source.source_case()) {
    case v1::CalibrationSource::kText:
      CheckTextUri(source.text().uri(), absl::StrCat(path, ".text.uri"), refuse);
      if (!v1::TextLayout_IsValid(source.text().layout())) {
        refuse(absl::StrCat(path, ".text.layout"), "must be pack or window");
      }
      return;
    case v1::CalibrationSource::kTokenIds: {
      const std::string& uri = source.token_ids().uri();
      CheckUri(uri, absl::StrCat(path, ".token_ids.uri"), refuse);
      if (!uri.empty() && DataKindOf(uri) != DataKind::kTokenIds) {
        refuse(absl::StrCat(path, ".token_ids.uri"), "must name a .npy file");
      }
      return;
    }
    case v1::CalibrationSource::kSelfGenerated:
    case v1::CalibrationSource::kPrefixGenerated:
      return CheckGenerated(source, path, refuse);
    case v1::CalibrationSource::kRandomVocabulary:
    case v1::CalibrationSource::kInstructions:
      return refuse(path, "is not available yet; give text or token_ids");
    case v1::CalibrationSource::SOURCE_NOT_SET:
      return refuse(path, "has no source; give text: {uri: ...} or token_ids: {uri: ...}");
  }
}

void CheckCalibration(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse) {
  const v1::Calibration& calibration = recipe.calibration();
  if (calibration.sources_size() == 0) {
    for (int i = 0; i < recipe.steps_size(); ++i) {
      if (!NeedsStatistics(recipe.steps(i))) continue;
      refuse(absl::StrCat(path, ".sources"),
             absl::StrCat("step ", i, " (", MethodName(recipe.steps(i)),
                          ") needs calibration text, and the recipe names none; give it with --calibration URI, or "
                          "--set calibration.sources[0].text.uri=train.jsonl"));
      break;
    }
  } else if (calibration.sources_size() > 1) {
    refuse(absl::StrCat(path, ".sources"),
           absl::StrCat("names ", calibration.sources_size(),
                        " sources; mixing is not there yet, give exactly one (join the files into one .jsonl)"));
  } else {
    CheckSource(calibration.sources(0), absl::StrCat(path, ".sources[0]"), refuse);
  }
  // Not available yet.
  if (calibration.has_draw() || calibration.has_mixing() || calibration.has_scored_tokens()) {
    refuse(path, "draw, mixing and scored_tokens are not available yet; remove them");
  }
  if (calibration.has_samples() && calibration.samples() < 1) {
    refuse(absl::StrCat(path, ".samples"), "must be at least 1");
  }
  if (calibration.has_sequence_length() && calibration.sequence_length() < 1) {
    refuse(absl::StrCat(path, ".sequence_length"), "must be at least 1");
  }
  if (int64_t{calibration.samples()} * calibration.sequence_length() > kMaxCalibrationTokens) {
    refuse(absl::StrCat(path, ".samples"),
           absl::StrCat("samples times sequence_length is above ", kMaxCalibrationTokens, " tokens"));
  }
  if (calibration.has_micro_batch() && calibration.micro_batch() < 1) {
    refuse(absl::StrCat(path, ".micro_batch"), "must be at least 1");
  }
}

}  // namespace calipress::recipe
