#pragma once

#include <vector>

#include "absl/status/status.h"
#include "calipress/v1/report.pb.h"
#include "calipress/worker/v1/worker_service.pb.h"

namespace calipress::fleet {

// Runs of a study that every rank of an attempt is done with, what the ranks know of each joined: calibration of rank
// 0, evaluations of the last, errors over all linears, the fingerprint over all blocks; by index.
std::vector<worker::v1::FinishedRun> JoinRuns(const std::vector<worker::v1::StageState>& ranks);

// Adds those of one attempt to those of earlier ones; the first of each index stays.
void AddRuns(const std::vector<worker::v1::StageState>& ranks, worker::v1::StageState* total);

// Adds the runs that every rank of one attempt has written as checkpoints to those of earlier attempts; the first of
// each index stays.
void AddKept(const std::vector<worker::v1::StageState>& ranks, int attempt, worker::v1::StageState* total);

// Where no run of a study ended well there is no result: an error with the first run's reason.
absl::Status CheckAnyRun(const v1::StudyReport& study);

// The report of a study that is done.
v1::StudyReport ReportOfRuns(const std::vector<worker::v1::StageState>& ranks, const worker::v1::StageState& earlier);

}  // namespace calipress::fleet
