#include "compress/method/method.h"

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/method/prune/dsnot/dsnot.h"
#include "compress/method/prune/magnitude/magnitude.h"
#include "compress/method/prune/sparsegpt/sparsegpt.h"
#include "compress/method/prune/wanda/wanda.h"
#include "compress/method/quantize/gptq/gptq.h"
#include "compress/method/quantize/rtn/rtn.h"
#include "compress/method/quantize/spqr/spqr.h"

namespace calipress::method {
namespace {

struct Entry {
  v1::Step::MethodCase step;
  // Null: the step only transforms.
  absl::StatusOr<std::unique_ptr<Method>> (*make)(const v1::Step& step);
  // Null: the step does not transform.
  absl::StatusOr<std::unique_ptr<Transform>> (*make_transform)(const v1::Step& step);
};

// One line per method.
constexpr Entry kMethods[] = {
    {v1::Step::kRtn, MakeRtn, nullptr},
    {v1::Step::kGptq, MakeGptq, nullptr},
    {v1::Step::kSpqr, MakeSpqr, nullptr},
    {v1::Step::kMagnitude, MakeMagnitude, nullptr},
    {v1::Step::kWanda, MakeWanda, nullptr},
    {v1::Step::kDsnot, MakeDsnot, nullptr},
    {v1::Step::kSparsegpt, MakeSparseGpt, nullptr},
};

absl::StatusOr<Entry> Find(const v1::Step& step) {
  for (const Entry& entry : kMethods) {
    if (entry.step == step.method_case()) return entry;
  }
  return UserError(reason::kInvalidRecipe, "a step names no method; `calipress recipes` shows steps of each");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const v1::Step& step) {
  CALIPRESS_ASSIGN_OR_RETURN(const Entry entry, Find(step));
  if (entry.make == nullptr) return std::unique_ptr<Method>();
  return entry.make(step);
}

absl::StatusOr<std::unique_ptr<Transform>> MakeTransform(const v1::Step& step) {
  CALIPRESS_ASSIGN_OR_RETURN(const Entry entry, Find(step));
  if (entry.make_transform == nullptr) return std::unique_ptr<Transform>();
  return entry.make_transform(step);
}

}  // namespace calipress::method
