#include "compress/method/prune/owl/outliers.h"

#include <ATen/Parallel.h>

#include "compress/base/status_macros.h"
#include "compress/method/prune/prune.h"

namespace calipress::method::owl {
namespace {

constexpr int64_t kGrain = 8;  // rows of a task

// The sum over rows of body(row, columns). Rows are added in order, whichever thread had them.
template <typename T, typename Body>
T SumOfRows(const at::Tensor& scores, const Body& body) {
  const int64_t rows = scores.size(0), n = scores.size(1);
  const float* from = scores.const_data_ptr<float>();
  std::vector<T> sums(rows);
  at::parallel_for(0, rows, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) sums[row] = body(from + row * n, n);
  });
  T total = 0;
  for (const T sum : sums) total += sum;
  return total;
}

double Sum(const float* scores, int64_t n) {
  double sum = 0.0;
  for (int64_t j = 0; j < n; ++j) sum += scores[j];
  return sum;
}

}  // namespace

absl::StatusOr<double> OutlierShare(const std::vector<InputGroup>& block, double threshold) {
  std::vector<at::Tensor> norms;
  for (const InputGroup& group : block) {
    CALIPRESS_RETURN_IF_ERROR(prune::CheckSquareSum("owl", group.tasks, &group.statistics));
    norms.push_back(group.statistics.square_sum.cpu().sqrt().contiguous());
  }
  // Twice over the weights: one linear's metric at a time is less than the block's.
  double sum = 0.0;
  int64_t weights = 0, outliers = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    for (const LinearTask& task : block[i].tasks) {
      CALIPRESS_RETURN_IF_ERROR(prune::CheckPrunable(task, {}));
      CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor scores, prune::Scores(task, norms[i]));
      sum += SumOfRows<double>(scores, Sum);
      weights += scores.numel();
    }
  }
  if (weights == 0) return 0.0;
  const double bound = threshold * (sum / static_cast<double>(weights));
  for (size_t i = 0; i < block.size(); ++i) {
    for (const LinearTask& task : block[i].tasks) {
      CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor scores, prune::Scores(task, norms[i]));
      outliers += SumOfRows<int64_t>(scores, [bound](const float* row, int64_t n) {
        int64_t count = 0;
        for (int64_t j = 0; j < n; ++j) count += row[j] > bound ? 1 : 0;
        return count;
      });
    }
  }
  return static_cast<double>(outliers) / static_cast<double>(weights);
}

}  // namespace calipress::method::owl
