#include "compress/method/method.h"

#include "compress/base/error.h"
#include "compress/method/quantize/gptq/gptq.h"
#include "compress/method/quantize/rtn/rtn.h"

namespace calipress::method {
namespace {

struct Entry {
  v1::Step::MethodCase step;
  absl::StatusOr<std::unique_ptr<Method>> (*make)(const v1::Step& step);
};

// One line per method.
constexpr Entry kMethods[] = {
    {v1::Step::kRtn, MakeRtn},
    {v1::Step::kGptq, MakeGptq},
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const v1::Step& step) {
  for (const Entry& entry : kMethods) {
    if (entry.step == step.method_case()) return entry.make(step);
  }
  return UserError(reason::kInvalidRecipe, "a step names no method; give it one of: rtn, gptq");
}

}  // namespace calipress::method
