#include "compress/engine/calibration_files.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"

namespace calipress::engine {
namespace {

constexpr int64_t kIdsLimit = int64_t{4} << 30;
constexpr int64_t kReportLimit = 1 << 20;

// "folder/ids.npy?query" -> "folder/ids.pb?query".
std::string BesideIds(const std::string& ids_uri) {
  constexpr std::string_view kIds = ".npy";
  const size_t at = ids_uri.rfind(kIds);
  if (at == std::string::npos) return absl::StrCat(ids_uri, ".pb");
  return absl::StrCat(ids_uri.substr(0, at), ".pb", ids_uri.substr(at + kIds.size()));
}

}  // namespace

absl::Status SaveCalibration(storage::ObjectStore& store, const std::string& ids_uri, const CalibrationSet& set) {
  // The ids last: where they are, the report is.
  CALIPRESS_RETURN_IF_ERROR(store.WriteAll(BesideIds(ids_uri), set.report.SerializeAsString()));
  return store.WriteAll(ids_uri, calibration::FormatNpy(set.tokens));
}

absl::StatusOr<CalibrationSet> LoadCalibration(storage::ObjectStore& store, const std::string& ids_uri) {
  CalibrationSet set;
  CALIPRESS_ASSIGN_OR_RETURN(const std::string ids, store.ReadAll(ids_uri, kIdsLimit));
  CALIPRESS_ASSIGN_OR_RETURN(set.tokens, calibration::ParseNpy(ids));
  CALIPRESS_ASSIGN_OR_RETURN(const std::string report, store.ReadAll(BesideIds(ids_uri), kReportLimit));
  if (!set.report.ParseFromString(report)) {
    return DefectError(absl::StrCat(storage::RedactUri(BesideIds(ids_uri)), " is damaged"));
  }
  set.tokens.parts.assign(set.report.parts().begin(), set.report.parts().end());
  return set;
}

}  // namespace calipress::engine
