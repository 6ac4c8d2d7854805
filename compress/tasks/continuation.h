#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/calibration/source.h"
#include "compress/tasks/examples.h"

namespace calipress::tasks {

// Tokenizes contexts and what follows them. `source` outlives it.
class ContinuationEncoder {
 public:
  static absl::StatusOr<ContinuationEncoder> Create(const calibration::SourceContext& source);

  // A context, tokenized once for all that may follow it.
  struct Context {
    std::string text;   // without the white space at its end
    std::string space;  // which is what a continuation begins with
    int64_t tokens = 0;
  };
  absl::StatusOr<Context> Begin(std::string_view context) const;

  // The context and then the text, of which at least one token is left. Errors are the row's: what is wrong, and what
  // to do, to be put behind file and line.
  absl::StatusOr<Continuation> Continue(const Context& context, std::string_view text) const;

 private:
  explicit ContinuationEncoder(const calibration::SourceContext& source) : source_(source) {}
  absl::StatusOr<std::vector<int64_t>> Encode(std::string_view text) const;

  const calibration::SourceContext& source_;
  std::vector<int64_t> before_;  // what the tokenizer puts before every text
};

}  // namespace calipress::tasks
