#include "compress/engine/step_methods.h"

#include "compress/base/status_macros.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {

absl::StatusOr<StepMethods> StepMethods::Make(const v1::Recipe& recipe) {
  StepMethods made;
  for (const v1::Step& step : recipe.steps()) {
    CALIPRESS_ASSIGN_OR_RETURN(made.methods_.emplace_back(), method::MakeMethod(step));
    CALIPRESS_ASSIGN_OR_RETURN(made.transforms_.emplace_back(), method::MakeTransform(step));
  }
  return made;
}

absl::Status StepMethods::SetForBlock(int step, int64_t block, const v1::Step& options) {
  CALIPRESS_ASSIGN_OR_RETURN(auto method, method::MakeMethod(options));
  of_block_[{step, block}] = std::move(method);
  return absl::OkStatus();
}

const method::Method* StepMethods::method(int step, int64_t block) const {
  const auto own = of_block_.find({step, block});
  return own == of_block_.end() ? methods_[step].get() : own->second.get();
}

bool StepMethods::HasTransforms() const {
  for (const auto& transform : transforms_) {
    if (transform) return true;
  }
  return false;
}

bool StepMethods::NeedsStatistics() const {
  if (HasTransforms()) return true;
  for (const auto& method : methods_) {
    if (method && method->needs().Any()) return true;
  }
  return false;
}

}  // namespace calipress::engine
