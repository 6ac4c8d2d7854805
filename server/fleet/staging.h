#pragma once

#include <string>

#include "calipress/v1/job.pb.h"

namespace calipress::fleet {

// Where a job's workers write before it is published. All are "" for a job without output.

// "<output>/_calipress/<uid>": everything of the job.
std::string StagingRoot(const v1::CompressionJob& job);

// "<root>/attempt-<n>": what one attempt writes (block files, token ids, shards).
std::string AttemptStaging(const v1::CompressionJob& job, int attempt);

// Where rank 0 of an attempt writes the calibration token ids: kCalibrationIdsFile in its staging folder.
std::string CalibrationIdsUri(const v1::CompressionJob& job, int attempt);

// A run that a study keeps beside others, as an attempt's ranks leave it; and in there what one rank says of it.
std::string KeptStaging(const v1::CompressionJob& job, int attempt, int index);
std::string KeptStateFile(int rank);

// Written by rank 0 of the attempt that succeeds, where the recipe asks for it.
inline constexpr char kImatrixFile[] = "imatrix.gguf";

inline constexpr char kCalibrationIdsFile[] = "calibration_ids.npy";

}  // namespace calipress::fleet
