#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace calipress::calibration {

// A document (conversation, row of ids) as ids.
struct Item {
  int64_t number = 0;  // in its file
  std::vector<int64_t> ids;
};

// Items one by one, in the order in which they are drawn.
class ItemStream {
 public:
  virtual ~ItemStream() = default;
  // None: there are no more.
  virtual absl::StatusOr<std::optional<Item>> Next() = 0;
};

}  // namespace calipress::calibration
