#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "calipress/v1/report.pb.h"
#include "compress/calibration/source.h"
#include "compress/storage/object_store.h"

namespace calipress::engine {

// A calibration set as it lies in a staging folder: its ids (.npy), which are published, and beside them what is known
// of it (.pb). Later attempts read both and draw, generate and score nothing again.
struct CalibrationSet {
  calibration::TokenMatrix tokens;
  v1::CalibrationReport report;
};

// The name of a job's ids, here and beside the checkpoint.
inline constexpr char kCalibrationIdsFile[] = "calibration_ids.npy";

// Where rank 0 leaves a set. Empty: nowhere, for a job without output.
struct CalibrationPlace {
  std::string ids_uri;
  // What the report calls it, CalibrationReport.ids_file.
  std::string name;
};

absl::Status SaveCalibration(storage::ObjectStore& store, const std::string& ids_uri, const CalibrationSet& set);

absl::StatusOr<CalibrationSet> LoadCalibration(storage::ObjectStore& store, const std::string& ids_uri);

}  // namespace calipress::engine
