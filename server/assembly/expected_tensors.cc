#include "server/assembly/expected_tensors.h"

#include "compress/recipe/recipe.h"

namespace calipress::assembly {

LinearOutcome LinearsOf(const v1::Recipe& recipe, const arch::ArchSpec& spec) {
  LinearOutcome outcome;
  // Also where it is tied: loaders build the head's module all the same and look it up in `ignore`.
  outcome.dense.emplace_back(arch::HeadModule(spec));
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (const arch::LinearSpec& linear : arch::BlockLinears(spec, block)) {
      if (const auto scheme = recipe::SchemeFor(recipe, linear.module)) {
        outcome.quantized.push_back({linear.module, *scheme});
      } else if (const auto spqr = recipe::SpqrSchemeFor(recipe, linear.module)) {
        outcome.spqr = *spqr;
      } else {
        outcome.dense.push_back(linear.module);
      }
    }
  }
  return outcome;
}

std::map<std::string, std::vector<int64_t>> ExpectedTensors(const v1::Recipe& recipe, const arch::ArchSpec& spec) {
  std::map<std::string, std::vector<int64_t>> expected;
  for (const arch::TensorSpec& tensor : arch::OuterTensors(spec)) expected[tensor.name] = tensor.shape;
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (const arch::TensorSpec& tensor : arch::BlockTensors(spec, block)) expected[tensor.name] = tensor.shape;
    for (const arch::LinearSpec& linear : arch::BlockLinears(spec, block)) {
      expected.erase(linear.module + ".weight");
      for (const checkpoint::TensorPlan& plan : recipe::LinearTensors(recipe, linear, spec.dtype, kAnySize)) {
        expected[plan.name] = plan.shape;
      }
    }
  }
  return expected;
}

}  // namespace calipress::assembly
