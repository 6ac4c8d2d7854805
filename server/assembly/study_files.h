#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"

namespace calipress::assembly {

// What a study leaves in its output, by name: study.csv (statistics), study_comparisons.csv, study_runs.csv (every
// run), study.json (both), study.md (for people) and study.yaml (its recipe). Empty for other jobs.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> StudyFiles(const v1::CompressionJob& job,
                                                                            const v1::Report& report);

// Names of the calibration sets that a study's runs report (recipe::CalibrationSetFile), each once.
std::vector<std::string> CalibrationSets(const v1::CompressionJob& job, const v1::Report& report);

// The job as an ordinary one that made the checkpoint: with the recipe of the one run that a study keeps. The same job
// where there is no study.
absl::StatusOr<v1::CompressionJob> JobOfCheckpoint(const v1::CompressionJob& job, const v1::Report& report);

}  // namespace calipress::assembly
