#include "compress/tasks/row_lines.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/documents.h"
#include "compress/recipe/data_kind.h"
#include "compress/storage/object_store.h"
#include "compress/storage/unpack.h"

namespace calipress::tasks {
namespace {

constexpr int64_t kMaxLineBytes = 64 << 20;

}  // namespace

absl::Status ForEachRow(const std::string& uri, int64_t limit, const calibration::SourceContext& context,
                        const std::function<absl::Status(std::string_view line)>& row) {
  const std::string name = storage::RedactUri(uri);
  CALIPRESS_ASSIGN_OR_RETURN(auto reader, calibration::OpenDataFile(context.store, uri));
  if (const auto packing = recipe::PackingOf(uri)) {
    auto unpacked = storage::Unpack(*reader, *packing);
    if (!unpacked.ok()) return Annotate(unpacked.status(), name);
    reader = *std::move(unpacked);
  }
  int64_t rows = 0;
  CALIPRESS_RETURN_IF_ERROR(
      Annotate(calibration::ForEachLine(*reader, kMaxLineBytes, /*kept=*/nullptr,
                                        [&](int64_t, std::string_view line, int64_t) -> absl::Status {
                                          if (limit > 0 && rows >= limit) return absl::OkStatus();
                                          if (line.find_first_not_of(" \t\r\f\v") == std::string_view::npos) {
                                            return absl::OkStatus();
                                          }
                                          ++rows;
                                          return row(line);
                                        }),
               name));
  if (rows == 0) return UserError(reason::kInvalidCalibrationData, absl::StrCat(name, " has no rows"));
  return absl::OkStatus();
}

absl::Status TokenBudget::Take(size_t tokens) {
  left_ -= static_cast<int64_t>(tokens);
  if (left_ >= 0) return absl::OkStatus();
  return UserError(reason::kInvalidCalibrationData,
                   absl::StrCat("brings the task above ", int64_t{1} << 27, " tokens; set max_examples"));
}

}  // namespace calipress::tasks
