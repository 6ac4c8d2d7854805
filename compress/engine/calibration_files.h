#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "calipress/v1/report.pb.h"
#include "compress/calibration/source.h"
#include "compress/storage/object_store.h"

namespace calipress::engine {

// A job's calibration set as an attempt leaves it in its staging folder: calibration_ids.npy, which becomes part of the
// checkpoint, and beside it what is known of it. Later attempts read both and draw, generate and score nothing again.
struct CalibrationSet {
  calibration::TokenMatrix tokens;
  v1::CalibrationReport report;
};

// The name of the ids, here and beside the checkpoint.
inline constexpr char kCalibrationIdsFile[] = "calibration_ids.npy";

absl::Status SaveCalibration(storage::ObjectStore& store, const std::string& folder, const CalibrationSet& set);

absl::StatusOr<CalibrationSet> LoadCalibration(storage::ObjectStore& store, const std::string& ids_uri);

}  // namespace calipress::engine
