#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/engine/lanes.h"

namespace calipress::engine {

// The perplexity of a text under the first lane's model and, where there is a second one, that model's and the
// divergences from it. Told on one rank: the last (replicas: the leader). All ranks call it alike.
absl::StatusOr<std::optional<v1::EvaluationResult>> EvaluateText(StageContext& context, std::vector<Lane>& lanes,
                                                                 const v1::Perplexity& text,
                                                                 const std::function<void(double)>& progress);

}  // namespace calipress::engine
