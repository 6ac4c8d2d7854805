#include "absl/strings/str_cat.h"
#include "compress/recipe/method_checks.h"

namespace calipress::recipe {

void CheckSmoothQuant(const v1::Recipe&, const v1::Step& step, const std::string& path, const Refuse& refuse) {
  const v1::SmoothQuant& options = step.smoothquant();
  if (!options.has_alpha() || (options.alpha() >= 0 && options.alpha() <= 1)) return;
  refuse(absl::StrCat(path, ".alpha"), absl::StrCat("must be 0 to 1, not ", options.alpha()));
}

}  // namespace calipress::recipe
