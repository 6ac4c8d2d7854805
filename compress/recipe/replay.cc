#include "compress/recipe/replay.h"

#include <set>

namespace calipress::recipe {

std::optional<v1::Recipe> ReplayRecipe(const v1::Recipe& recipe, const v1::CalibrationReport& made,
                                       const std::string& ids_uri) {
  if (made.parts().empty()) return std::nullopt;
  v1::Recipe replay = recipe;
  v1::Calibration& calibration = *replay.mutable_calibration();
  calibration.clear_sources();
  calibration.clear_draw();
  calibration.clear_samples();  // each source has its own
  calibration.set_sequence_length(made.sequence_length());
  std::set<std::string> domains;
  int64_t row = 0;
  for (const v1::CalibrationPart& part : made.parts()) {
    if (part.sequences() == 0) continue;  // of weight 0
    v1::CalibrationSource& source = *calibration.add_sources();
    source.mutable_token_ids()->set_uri(ids_uri);
    source.mutable_token_ids()->set_first_row(row);
    source.set_samples(static_cast<int32_t>(part.sequences()));
    source.set_domain(part.domain());
    domains.insert(part.domain());
    row += part.sequences();
  }
  if (!calibration.has_mixing()) return replay;
  v1::Mixing weighed = calibration.mixing();
  weighed.clear_weights();
  for (const v1::DomainWeight& entry : calibration.mixing().weights()) {
    // Of a domain that gave nothing there is no source left.
    if (domains.contains(entry.domain())) *weighed.add_weights() = entry;
  }
  *calibration.mutable_mixing() = weighed;
  return replay;
}

}  // namespace calipress::recipe
