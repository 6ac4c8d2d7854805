#include "compress/method/prune/magnitude/magnitude.h"

#include <chrono>

#include "compress/base/status_macros.h"
#include "compress/method/prune/mask.h"
#include "compress/method/prune/prune.h"

namespace calipress::method {
namespace {

class Magnitude : public Method {
 public:
  explicit Magnitude(const prune::Amount& amount) : amount_(amount) {}

  StatisticsNeeds needs() const override { return {}; }
  int64_t row_unit() const override { return amount_.pattern ? 1 : 0; }

  absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                     const InputStatistics*) const override {
    std::vector<LinearResult> results;
    for (const LinearTask& task : tasks) {
      const auto start = std::chrono::steady_clock::now();
      CALIPRESS_RETURN_IF_ERROR(prune::CheckPrunable(task, amount_));
      CALIPRESS_ASSIGN_OR_RETURN(prune::RowsPruned pruned, Prune(task));
      results.push_back(prune::ResultOf(task, pruned, "magnitude"));
      results.back().seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    return results;
  }

 private:
  absl::StatusOr<prune::RowsPruned> Prune(const LinearTask& task) const {
    if (amount_.pattern) return prune::PruneRows(task, {}, amount_);
    CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor scores, prune::Scores(task, {}));
    const int64_t count = prune::CountOf(scores.numel(), amount_.sparsity);
    return prune::ApplyMask(task, {}, prune::SmallestOfMatrix(scores, count));
  }

  const prune::Amount amount_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeMagnitude(const v1::Step& step) {
  const v1::Magnitude& options = step.magnitude();
  CALIPRESS_ASSIGN_OR_RETURN(const prune::Amount amount,
                             prune::MakeAmount("magnitude", options.sparsity(), options.pattern()));
  return std::make_unique<Magnitude>(amount);
}

}  // namespace calipress::method
