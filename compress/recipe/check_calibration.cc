#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/recipe/calibration_plan.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

// 2 GiB of ids.
constexpr int64_t kMaxCalibrationTokens = int64_t{1} << 28;
constexpr int64_t kMaxSequences = std::numeric_limits<int32_t>::max();

// Far above any use; keep what is done before a job is queued small.
constexpr int kMaxSources = 64;
constexpr int32_t kMaxDraws = 1 << 20;

void CheckDraw(const v1::Draw& draw, const std::string& path, const Refuse& refuse) {
  if (draw.of() < 1 || draw.of() > kMaxDraws) {
    return refuse(absl::StrCat(path, ".of"), absl::StrCat("must be 1 to ", kMaxDraws, ", not ", draw.of()));
  }
  if (draw.index() < 0 || draw.index() >= draw.of()) {
    refuse(absl::StrCat(path, ".index"),
           absl::StrCat("must be 0 to ", draw.of() - 1, " (one less than of), not ", draw.index()));
  }
}

// What goes to each source. The sources themselves are in order.
void CheckShares(const v1::Calibration& calibration, const std::string& path, const Refuse& refuse) {
  double weights = 0;
  bool shares = false;
  bool file_decides = true;
  int64_t own = 0;
  for (const v1::CalibrationSource& source : calibration.sources()) {
    own += source.samples();
    if (source.has_samples()) continue;
    shares = true;
    file_decides = file_decides && source.has_token_ids();
    weights += source.has_weight() ? source.weight() : 1;
  }
  if (own > kMaxSequences) {
    refuse(absl::StrCat(path, ".sources"), absl::StrCat("ask for ", own, " sequences; at most ", kMaxSequences));
  }
  if (!shares) {
    if (calibration.sources_size() > 0 && calibration.has_samples()) {
      refuse(absl::StrCat(path, ".samples"),
             "is divided among sources without samples of their own, and all have them; remove it");
    }
    return;
  }
  if (!(weights > 0)) {
    return refuse(absl::StrCat(path, ".sources"),
                  "have weights that sum to 0: no source gets any of calibration.samples; give one a weight");
  }
  if (!calibration.has_samples() && file_decides) return;
  v1::Calibration divided = calibration;
  if (!divided.has_samples()) divided.set_samples(kDefaultSamples);
  const std::vector<int64_t> sequences = SourceSequences(divided);
  for (int i = 0; i < calibration.sources_size(); ++i) {
    const v1::CalibrationSource& source = calibration.sources(i);
    if (sequences[i] > 0 || source.has_samples() || (source.has_weight() && source.weight() == 0)) continue;
    refuse(absl::StrCat(path, ".sources[", i, "]"),
           absl::StrCat("gets none of the ", divided.samples(),
                        " samples by its weight; raise calibration.samples or the weight, or give it samples"));
  }
}

}  // namespace

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
  } else if (calibration.sources_size() > kMaxSources) {
    refuse(absl::StrCat(path, ".sources"), absl::StrCat("at most ", kMaxSources, " sources"));
  } else {
    int wrong = 0;
    const Refuse counting = [&](std::string field, std::string description) {
      ++wrong;
      refuse(std::move(field), std::move(description));
    };
    for (int i = 0; i < calibration.sources_size(); ++i) {
      CheckSource(calibration.sources(i), absl::StrCat(path, ".sources[", i, "]"), counting);
    }
    if (wrong == 0 && (!calibration.has_samples() || calibration.samples() >= 1)) {
      CheckShares(calibration, path, refuse);
    }
  }
  if (calibration.has_draw()) CheckDraw(calibration.draw(), absl::StrCat(path, ".draw"), refuse);
  if (calibration.has_mixing() && calibration.sources_size() > 0) {
    CheckMixing(calibration, absl::StrCat(path, ".mixing"), refuse);
  }
  if (calibration.scored_tokens() < 0) refuse(absl::StrCat(path, ".scored_tokens"), "must be 0 (none) or more");
  if (calibration.has_samples() && calibration.samples() < 1) {
    refuse(absl::StrCat(path, ".samples"), "must be at least 1");
  }
  if (calibration.has_sequence_length() && calibration.sequence_length() < 1) {
    refuse(absl::StrCat(path, ".sequence_length"), "must be at least 1");
  }
  int64_t samples = calibration.samples();
  for (const v1::CalibrationSource& source : calibration.sources()) samples += source.samples();
  if (samples > 0 && calibration.sequence_length() > kMaxCalibrationTokens / samples) {
    refuse(absl::StrCat(path, ".samples"),
           absl::StrCat("samples times sequence_length is above ", kMaxCalibrationTokens, " tokens"));
  }
  if (calibration.has_micro_batch() && calibration.micro_batch() < 1) {
    refuse(absl::StrCat(path, ".micro_batch"), "must be at least 1");
  }
}

}  // namespace calipress::recipe
