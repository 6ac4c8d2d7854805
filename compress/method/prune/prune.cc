#include "compress/method/prune/prune.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/isfinite.h>

#include "compress/base/error.h"
#include "compress/method/prune/mask.h"

namespace calipress::method::prune {
namespace {

constexpr int64_t kGrain = 8;  // rows of a task
constexpr int kLanes = 8;      // sums side by side, for the compiler to make vectors of

// False where the row holds NaN or Inf.
template <typename T>
bool ScoreRow(const T* weight, const float* norms, const bool* before, int64_t n, float* scores) {
  uint32_t bad = 0;
  for (int64_t j = 0; j < n; ++j) {
    const float value = std::fabs(static_cast<float>(weight[j]));
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    bad |= bits >= 0x7f800000u;
    scores[j] = norms == nullptr ? value : value * norms[j];
  }
  if (before != nullptr) {
    for (int64_t j = 0; j < n; ++j) scores[j] = before[j] ? -1.0f : scores[j];
  }
  return bad == 0;
}

// Writes zeros, completes the mask by what was pruned before, and adds up both sums.
template <typename T>
void FinishRow(const T* weight, const float* norms, const bool* before, int64_t n, bool* mask, T* out, double* lost,
               double* total) {
  if (before != nullptr) {
    for (int64_t j = 0; j < n; ++j) mask[j] = mask[j] || before[j];
  }
  double losts[kLanes] = {}, totals[kLanes] = {};
  const auto add = [&](int64_t j, int lane) {
    const double product = static_cast<double>(static_cast<float>(weight[j])) * (norms == nullptr ? 1.0f : norms[j]);
    totals[lane] += product * product;
    losts[lane] += mask[j] ? product * product : 0.0;
    out[j] = mask[j] ? T(0.0f) : weight[j];
  };
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) add(j + lane, lane);
  }
  for (; j < n; ++j) add(j, 0);
  for (int lane = 0; lane < kLanes; ++lane) {
    *lost += losts[lane];
    *total += totals[lane];
  }
}

const float* Data(const at::Tensor& norms) { return norms.defined() ? norms.const_data_ptr<float>() : nullptr; }

// body(row, weight, before, mask, out, &lost, &total) for every row; false where a row is refused.
template <typename T, typename Body>
bool ForRows(const at::Tensor& weight, const at::Tensor& before, RowsPruned& pruned, const Body& body) {
  const int64_t rows = weight.size(0), n = weight.size(1);
  const T* from = weight.const_data_ptr<T>();
  T* to = pruned.weight.mutable_data_ptr<T>();
  bool* mask = pruned.pruned.mutable_data_ptr<bool>();
  const bool* earlier = before.defined() ? before.const_data_ptr<bool>() : nullptr;
  std::vector<double> lost(rows, 0.0), total(rows, 0.0);
  std::atomic<bool> fine{true};
  at::parallel_for(0, rows, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * n;
      if (!body(from + at, earlier == nullptr ? nullptr : earlier + at, mask + at, to + at, &lost[row], &total[row])) {
        fine = false;
      }
    }
  });
  for (int64_t row = 0; row < rows; ++row) {
    pruned.lost += lost[row];
    pruned.total += total[row];
  }
  return fine;
}

at::Tensor OnCpu(const at::Tensor& tensor) { return tensor.defined() ? tensor.cpu().contiguous() : tensor; }

}  // namespace

absl::StatusOr<Amount> MakeAmount(std::string_view method, double sparsity, const std::string& pattern) {
  Amount amount{sparsity, std::nullopt};
  if (!(sparsity >= 0.0 && sparsity < 1.0)) {
    return UserError(reason::kInvalidRecipe, std::string(method) + ".sparsity is " + std::to_string(sparsity) +
                                                 "; give a share of at least 0 and below 1, as 0.5");
  }
  if (pattern.empty()) return amount;
  amount.pattern = recipe::ParseNOfM(pattern);
  if (!amount.pattern) {
    return UserError(reason::kInvalidRecipe,
                     std::string(method) + ".pattern is '" + pattern + "'; give N:M with 0 < N < M, as 2:4");
  }
  return amount;
}

absl::Status CheckPrunable(const LinearTask& task, const Amount& amount) {
  const at::Tensor& weight = task.weight;
  const bool dtype =
      weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kHalf || weight.scalar_type() == at::kBFloat16;
  if (!dtype || weight.dim() != 2) {
    return UserError(reason::kInvalidRecipe,
                     task.module + ": only matrices of bf16, f16 or f32 can be pruned; add it to ignore");
  }
  if (amount.pattern && weight.size(1) % amount.pattern->of != 0) {
    return UserError(reason::kInvalidRecipe, task.module + ": runs of " + std::to_string(amount.pattern->of) +
                                                 " do not divide its " + std::to_string(weight.size(1)) +
                                                 " inputs; choose another pattern or add it to ignore");
  }
  return absl::OkStatus();
}

absl::Status NonFiniteWeight(const LinearTask& task) {
  return PreconditionError(reason::kNonFiniteWeights,
                           "the weight of " + task.module + " holds NaN or Inf; repair the checkpoint, or ignore it");
}

absl::Status CheckSquareSum(std::string_view method, const std::vector<LinearTask>& tasks,
                            const InputStatistics* statistics) {
  const std::string name(method);
  for (const LinearTask& task : tasks) {
    if (statistics == nullptr || !statistics->square_sum.defined() || statistics->square_sum.dim() != 1 ||
        statistics->square_sum.scalar_type() != at::kFloat || statistics->square_sum.size(0) != task.weight.size(1)) {
      return DefectError(name + " was given no square sums that fit " + task.module);
    }
  }
  if (!tasks.empty() && !at::isfinite(statistics->square_sum).all().item<bool>()) {
    return PreconditionError(reason::kNonFiniteActivations,
                             "the inputs of " + tasks.front().module +
                                 " hold NaN or Inf (or overflow fp32 when squared); the model breaks on the " +
                                 "calibration data: check it on the same text first");
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> Scores(const LinearTask& task, const at::Tensor& norms) {
  const at::Tensor weight = OnCpu(task.weight), before = OnCpu(task.pruned);
  const int64_t rows = weight.size(0), n = weight.size(1);
  at::Tensor scores = at::empty({rows, n}, at::kFloat);
  float* to = scores.mutable_data_ptr<float>();
  std::atomic<bool> fine{true};
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "Scores", [&] {
    const auto* from = weight.const_data_ptr<scalar_t>();
    at::parallel_for(0, rows, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const bool* earlier = before.defined() ? before.const_data_ptr<bool>() + row * n : nullptr;
        if (!ScoreRow(from + row * n, Data(norms), earlier, n, to + row * n)) fine = false;
      }
    });
  });
  if (!fine) return NonFiniteWeight(task);
  return scores;
}

absl::StatusOr<RowsPruned> PruneRows(const LinearTask& task, const at::Tensor& norms, const Amount& amount) {
  const at::Tensor weight = OnCpu(task.weight), before = OnCpu(task.pruned);
  const int64_t n = weight.size(1), count = CountOf(n, amount.sparsity);
  RowsPruned pruned{at::empty_like(weight), at::empty(weight.sizes(), at::kBool)};
  bool fine = true;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "PruneRows", [&] {
    fine = ForRows<scalar_t>(
        weight, before, pruned,
        [&](const scalar_t* from, const bool* earlier, bool* mask, scalar_t* to, double* lost, double* total) {
          static thread_local std::vector<float> scores;
          scores.resize(n);
          if (!ScoreRow(from, Data(norms), earlier, n, scores.data())) return false;
          if (amount.pattern) {
            MarkSmallestOfRuns(scores.data(), n, amount.pattern->zeros, amount.pattern->of, mask);
          } else {
            MarkSmallest(scores.data(), n, count, mask);
          }
          FinishRow(from, Data(norms), earlier, n, mask, to, lost, total);
          return true;
        });
  });
  if (!fine) return NonFiniteWeight(task);
  return pruned;
}

RowsPruned ApplyMask(const LinearTask& task, const at::Tensor& norms, const at::Tensor& mask) {
  const at::Tensor weight = OnCpu(task.weight), before = OnCpu(task.pruned);
  const int64_t n = weight.size(1);
  RowsPruned pruned{at::empty_like(weight), mask.clone()};
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "ApplyMask", [&] {
    ForRows<scalar_t>(
        weight, before, pruned,
        [&](const scalar_t* from, const bool* earlier, bool* removed, scalar_t* to, double* lost, double* total) {
          FinishRow(from, Data(norms), earlier, n, removed, to, lost, total);
          return true;
        });
  });
  return pruned;
}

LinearResult ResultOf(const LinearTask& task, const RowsPruned& pruned, std::string method) {
  LinearResult result;
  result.weight = pruned.weight.to(task.weight.device());
  result.pruned = pruned.pruned.to(task.weight.device());
  result.method = std::move(method);
  const double ratio = pruned.total > 0.0 ? pruned.lost / pruned.total : 0.0;
  result.energy = pruned.total;
  result.relative_error = std::isfinite(ratio) ? ratio : 0.0;
  return result;
}

}  // namespace calipress::method::prune
