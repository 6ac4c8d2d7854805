#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/calibration/model_oracle.h"

namespace calipress::engine {

// What rank 0 wants of all ranks while it makes calibration text.
struct OracleCommand {
  enum class Kind : int8_t { kGenerate, kScore, kFinish };
  Kind kind = Kind::kFinish;
  calibration::GenerationRequest request;       // generate
  std::vector<std::vector<int64_t>> sequences;  // score
  absl::Status outcome;                         // finish: rank 0's
};

// As ranks of one attempt send it to each other.
std::string ToBytes(const OracleCommand& command);
absl::StatusOr<OracleCommand> ParseOracleCommand(const std::string& bytes);

}  // namespace calipress::engine
