#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/calibration/model_oracle.h"
#include "compress/engine/context.h"

namespace calipress::engine {

// The original model on all of the job's workers, for rank 0; the others serve meanwhile. Not thread-safe.
class PipelineOracle : public calibration::ModelOracle {
 public:
  explicit PipelineOracle(StageContext& context) : context_(context) {}

  absl::StatusOr<std::vector<calibration::ScoredSequence>> Generate(
      const calibration::GenerationRequest& request) override;
  absl::StatusOr<std::vector<calibration::ScoredSequence>> Score(std::vector<std::vector<int64_t>> sequences) override;

  // Ends the others' serving, with `outcome` where that is a failure; returns it. After a failure of Generate or Score,
  // which may be this rank's alone, there is nothing to end.
  absl::Status Finish(const absl::Status& outcome);

  int64_t generated_tokens() const { return generated_tokens_; }
  double generation_seconds() const { return generation_seconds_; }

 private:
  StageContext& context_;
  bool failed_ = false;
  int64_t generated_tokens_ = 0;
  double generation_seconds_ = 0.0;
};

// What the other ranks do meanwhile: as rank 0's oracle asks, until it ends. Fails as rank 0 has failed.
absl::Status ServeOracle(StageContext& context);

}  // namespace calipress::engine
