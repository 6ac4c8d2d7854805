#pragma once

#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "compress/calibration/model_oracle.h"

namespace calipress::calibration {

// A model whose perplexity of a sequence is what the test says; it keeps what it was asked.
class FakeOracle : public ModelOracle {
 public:
  explicit FakeOracle(std::function<double(const std::vector<int64_t>&)> perplexity)
      : perplexity_(std::move(perplexity)) {}

  absl::StatusOr<std::vector<ScoredSequence>> Generate(const GenerationRequest&) override {
    return absl::UnimplementedError("no generation here");
  }

  absl::StatusOr<std::vector<ScoredSequence>> Score(std::vector<std::vector<int64_t>> sequences) override {
    std::vector<ScoredSequence> scored;
    for (std::vector<int64_t>& ids : sequences) {
      ScoredSequence& one = scored.emplace_back();
      one.predicted = static_cast<int64_t>(ids.size()) - 1;
      one.negative_log_likelihood = std::log(perplexity_(ids)) * static_cast<double>(one.predicted);
      one.ids = std::move(ids);
      asked.push_back(one.ids);
    }
    return scored;
  }

  std::vector<std::vector<int64_t>> asked;

 private:
  const std::function<double(const std::vector<int64_t>&)> perplexity_;
};

}  // namespace calipress::calibration
