#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::engine {

// The methods and transforms of a recipe's steps, made once and shared by all blocks; and those that one block has of
// its own (layer-wise sparsities).
class StepMethods {
 public:
  static absl::StatusOr<StepMethods> Make(const v1::Recipe& recipe);

  // From here on `step` acts on `block` with other options than on the rest.
  absl::Status SetForBlock(int step, int64_t block, const v1::Step& options);

  // Null where the step has none.
  const method::Method* method(int step, int64_t block) const;
  const method::Transform* transform(int step) const { return transforms_[step].get(); }
  int count() const { return static_cast<int>(methods_.size()); }

  // True where any step wants statistics of activations.
  bool NeedsStatistics() const;
  // True where any step transforms.
  bool HasTransforms() const;

 private:
  std::vector<std::unique_ptr<method::Method>> methods_;
  std::vector<std::unique_ptr<method::Transform>> transforms_;
  std::map<std::pair<int, int64_t>, std::unique_ptr<method::Method>> of_block_;
};

}  // namespace calipress::engine
