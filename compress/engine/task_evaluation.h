#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/engine/lanes.h"

namespace calipress::engine {

// A task's figures under the first lane's model and, where there is a second one, that model's beside them. Told on one
// rank: the last (replicas: the leader). All ranks call it alike.
absl::StatusOr<std::optional<v1::TaskResult>> EvaluateTask(StageContext& context, std::vector<Lane>& lanes,
                                                           const v1::MultipleChoice& task,
                                                           const std::function<void(double)>& progress);
absl::StatusOr<std::optional<v1::TaskResult>> EvaluateTask(StageContext& context, std::vector<Lane>& lanes,
                                                           const v1::LastWord& task,
                                                           const std::function<void(double)>& progress);

}  // namespace calipress::engine
