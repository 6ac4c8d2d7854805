#include "compress/calibration/id_range.h"

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"

namespace calipress::calibration {

absl::Status CheckTokenizerIds(const std::vector<int64_t>& ids, int64_t vocabulary) {
  for (const int64_t id : ids) {
    if (id >= 0 && id < vocabulary) continue;
    return UserError(reason::kSourceModelCorrupt,
                     absl::StrCat("the tokenizer gives the id ", id, ", and the model's vocabulary has ", vocabulary,
                                  " (vocab_size): tokenizer.json is not this model's"));
  }
  return absl::OkStatus();
}

}  // namespace calipress::calibration
