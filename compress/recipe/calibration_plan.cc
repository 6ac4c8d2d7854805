#include "compress/recipe/calibration_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace calipress::recipe {
namespace {

double WeightOf(const v1::CalibrationSource& source) { return source.has_weight() ? source.weight() : 1.0; }

// Parts of `samples` in proportion to the weights: the whole sequences of each quota, then one each by what is left of
// it.
std::vector<int64_t> Divide(int64_t samples, const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> parts(weights.size(), 0);
  if (!(sum > 0)) return parts;
  std::vector<double> left(weights.size());
  int64_t given = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double quota = static_cast<double>(samples) * (weights[i] / sum);
    parts[i] = static_cast<int64_t>(std::floor(quota));
    left[i] = quota - static_cast<double>(parts[i]);
    given += parts[i];
  }
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return left[a] > left[b]; });
  // Rounding may leave a quota of weight 0 its place at the end of the order; it stays at none.
  for (size_t k = 0; given < samples; k = (k + 1) % order.size()) {
    if (weights[order[k]] <= 0) continue;
    ++parts[order[k]];
    ++given;
  }
  return parts;
}

bool AsksPerplexity(const v1::Filter& filter) { return filter.has_min_perplexity() || filter.has_max_perplexity(); }

}  // namespace

std::vector<int64_t> SourceSequences(const v1::Calibration& calibration) {
  std::vector<double> weights;
  for (const v1::CalibrationSource& source : calibration.sources()) {
    if (!source.has_samples()) weights.push_back(WeightOf(source));
  }
  const std::vector<int64_t> parts =
      calibration.has_samples() ? Divide(calibration.samples(), weights) : std::vector<int64_t>();
  std::vector<int64_t> sequences;
  size_t next = 0;
  for (const v1::CalibrationSource& source : calibration.sources()) {
    sequences.push_back(source.has_samples() ? source.samples() : parts.empty() ? kAllSequences : parts[next++]);
  }
  return sequences;
}

std::optional<int64_t> CalibrationSequences(const v1::Calibration& calibration) {
  int64_t sum = 0;
  for (const int64_t sequences : SourceSequences(calibration)) {
    if (sequences == kAllSequences) return std::nullopt;
    sum += sequences;
  }
  return sum;
}

uint64_t SourceSeed(const v1::Calibration& calibration, int place) {
  const v1::CalibrationSource& source = calibration.sources(place);
  return source.has_seed() ? source.seed() : calibration.seed() + static_cast<uint64_t>(place);
}

bool NeedsTokenizer(const v1::Calibration& calibration) {
  return std::any_of(calibration.sources().begin(), calibration.sources().end(),
                     [](const v1::CalibrationSource& source) {
                       if (!source.has_self_generated()) return !source.has_token_ids();
                       return source.self_generated().first_tokens() == v1::FIRST_TOKENS_STOP_WORDS;
                     });
}

bool AsksModel(const v1::Calibration& calibration) {
  if (calibration.sources_size() > 0 && calibration.scored_tokens() > 0) return true;
  return std::any_of(
      calibration.sources().begin(), calibration.sources().end(), [](const v1::CalibrationSource& source) {
        return source.has_self_generated() || source.has_prefix_generated() || AsksPerplexity(source.filter());
      });
}

std::string SourceKind(const v1::CalibrationSource& source) {
  const auto* field = source.GetDescriptor()->FindFieldByNumber(static_cast<int>(source.source_case()));
  return field == nullptr ? "none" : field->name();
}

std::string SourceUri(const v1::CalibrationSource& source) {
  switch (source.source_case()) {
    case v1::CalibrationSource::kText:
      return source.text().uri();
    case v1::CalibrationSource::kTokenIds:
      return source.token_ids().uri();
    case v1::CalibrationSource::kPrefixGenerated:
      return source.prefix_generated().prefixes().uri();
    case v1::CalibrationSource::kInstructions:
      return source.instructions().uri();
    case v1::CalibrationSource::kRandomVocabulary:
    case v1::CalibrationSource::kSelfGenerated:
    case v1::CalibrationSource::SOURCE_NOT_SET:
      return "";
  }
  return "";
}

}  // namespace calipress::recipe
