#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "compress/collective/group.h"
#include "compress/method/method.h"

namespace calipress::engine {

// Method::Compress with the work divided over the ranks, which all have the same tasks and statistics, to the bit: by
// rows where the method lets them go apart (Method::row_unit), by linears where it does not. Every rank gets all
// results, the same bits.
absl::StatusOr<std::vector<method::LinearResult>> CompressDivided(const method::Method& method,
                                                                  const std::vector<method::LinearTask>& tasks,
                                                                  const method::InputStatistics* statistics,
                                                                  collective::Group& group);

}  // namespace calipress::engine
