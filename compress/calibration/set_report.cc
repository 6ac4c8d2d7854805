#include "compress/calibration/set_report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"

namespace calipress::calibration {
namespace {

constexpr int kLongestGram = 4;

double Repetition(const TokenMatrix& tokens) {
  int64_t repeated = 0;
  std::unordered_set<int64_t> seen;
  for (int64_t row = 0; row < tokens.sequences; ++row) {
    seen.clear();
    for (int64_t i = 0; i < tokens.length; ++i) repeated += !seen.insert(tokens.ids[row * tokens.length + i]).second;
  }
  return static_cast<double>(repeated) / static_cast<double>(tokens.ids.size());
}

// n-grams get numbers: those of n - 1 tokens and the token behind make a pair, and the place of the pair among the
// distinct ones is the number of the n-gram. So equal numbers are equal n-grams.
double GramDiversity(const TokenMatrix& tokens) {
  using Pair = std::pair<int64_t, int64_t>;
  double sum = 0;
  int counted = 0;
  std::vector<int64_t> numbers(tokens.ids.size(), 0);
  for (int n = 1; n <= kLongestGram && n <= tokens.length; ++n) {
    std::vector<Pair> pairs;
    pairs.reserve(tokens.sequences * (tokens.length - n + 1));
    const auto each = [&](auto&& use) {
      for (int64_t row = 0; row < tokens.sequences; ++row) {
        for (int64_t i = row * tokens.length; i + n <= (row + 1) * tokens.length; ++i) {
          use(i, Pair(numbers[i], tokens.ids[i + n - 1]));
        }
      }
    };
    each([&](int64_t, const Pair& pair) { pairs.push_back(pair); });
    const auto total = static_cast<double>(pairs.size());
    std::sort(pairs.begin(), pairs.end());
    pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
    sum += static_cast<double>(pairs.size()) / total;
    ++counted;
    if (n == kLongestGram) break;
    each([&](int64_t i, const Pair& pair) {
      numbers[i] = std::lower_bound(pairs.begin(), pairs.end(), pair) - pairs.begin();
    });
  }
  return counted == 0 ? 0 : sum / counted;
}

// Frequencies, the highest first.
std::vector<int64_t> Frequencies(const TokenMatrix& tokens) {
  std::unordered_map<int64_t, int64_t> counts;
  for (const int64_t id : tokens.ids) ++counts[id];
  std::vector<int64_t> frequencies;
  frequencies.reserve(counts.size());
  for (const auto& [id, count] : counts) frequencies.push_back(count);
  std::sort(frequencies.begin(), frequencies.end(), std::greater<>());
  return frequencies;
}

double ZipfExponent(const std::vector<int64_t>& frequencies) {
  const auto n = static_cast<double>(frequencies.size());
  double x_mean = 0;
  double y_mean = 0;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    x_mean += std::log(static_cast<double>(i + 1)) / n;
    y_mean += std::log(static_cast<double>(frequencies[i])) / n;
  }
  double xx = 0;
  double xy = 0;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double x = std::log(static_cast<double>(i + 1)) - x_mean;
    xx += x * x;
    xy += x * (std::log(static_cast<double>(frequencies[i])) - y_mean);
  }
  return xx > 0 ? -xy / xx : 0;
}

}  // namespace

v1::CalibrationReport ReportOf(const TokenMatrix& tokens, int64_t vocabulary) {
  v1::CalibrationReport report;
  report.set_sequences(tokens.sequences);
  report.set_sequence_length(static_cast<int32_t>(tokens.length));
  report.set_tokens(static_cast<int64_t>(tokens.ids.size()));
  report.set_fingerprint(Fingerprint(tokens));
  for (const v1::CalibrationPart& part : tokens.parts) *report.add_parts() = part;
  if (tokens.ids.empty()) return report;
  const std::vector<int64_t> frequencies = Frequencies(tokens);
  report.set_repetition(Repetition(tokens));
  if (vocabulary > 0) {
    report.set_vocabulary_coverage(static_cast<double>(frequencies.size()) / static_cast<double>(vocabulary));
  }
  report.set_ngram_diversity(GramDiversity(tokens));
  report.set_zipf_exponent(ZipfExponent(frequencies));
  return report;
}

absl::Status ScoreSet(const TokenMatrix& tokens, int64_t scored_tokens, ModelOracle& model,
                      v1::CalibrationReport* report) {
  if (scored_tokens <= 0 || tokens.ids.empty()) return absl::OkStatus();
  const int64_t wanted = (scored_tokens - 1) / tokens.length + 1;
  const int64_t count = std::min(wanted, tokens.sequences);
  std::vector<std::vector<int64_t>> picked;
  picked.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    const auto begin = tokens.ids.begin() + (2 * i + 1) * tokens.sequences / (2 * count) * tokens.length;
    picked.emplace_back(begin, begin + tokens.length);
  }
  CALIPRESS_ASSIGN_OR_RETURN(const std::vector<ScoredSequence> scored, model.Score(std::move(picked)));
  if (static_cast<int64_t>(scored.size()) != count) {
    return DefectError("the model scored another number of sequences than it was given");
  }
  ScoredSequence all;
  for (const ScoredSequence& sequence : scored) {
    all.negative_log_likelihood += sequence.negative_log_likelihood;
    all.predicted += sequence.predicted;
  }
  report->set_scored_tokens(count * tokens.length);
  if (all.predicted > 0) report->set_perplexity(all.Perplexity());
  return absl::OkStatus();
}

}  // namespace calipress::calibration
