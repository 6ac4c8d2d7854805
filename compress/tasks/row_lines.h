#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "compress/calibration/source.h"

namespace calipress::tasks {

// Calls `row` for the lines of a .jsonl that have something on them, at most `limit` of them (0: all), from the first.
// Errors get the file's name, and those of `row` also the line's number. A file without rows is an error.
absl::Status ForEachRow(const std::string& uri, int64_t limit, const calibration::SourceContext& context,
                        const std::function<absl::Status(std::string_view line)>& row);

// Refuses examples that would not fit in memory, before they are made.
class TokenBudget {
 public:
  absl::Status Take(size_t tokens);

 private:
  int64_t left_ = int64_t{1} << 27;  // 1 GiB of ids
};

}  // namespace calipress::tasks
