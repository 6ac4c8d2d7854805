#include "compress/engine/share_statistics.h"

#include <algorithm>
#include <vector>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "compress/base/status_macros.h"

namespace calipress::engine {
namespace {

// Rows of a second moment that are summed at once: of each only what is right of the diagonal travels.
constexpr int64_t kBandRows = 512;

absl::Status SumSymmetric(collective::Group& group, const at::Tensor& matrix) {
  const int64_t n = matrix.size(0);
  for (int64_t first = 0; first < n; first += kBandRows) {
    const int64_t end = std::min(n, first + kBandRows);
    const at::Tensor band = matrix.slice(0, first, end).slice(1, first);
    const at::Tensor sum = band.contiguous();
    CALIPRESS_RETURN_IF_ERROR(group.AllReduceSum(sum));
    // The order of summing differs between the two triangles of the square on the diagonal.
    const at::Tensor square = sum.slice(1, 0, end - first);
    square.copy_(square.triu().add_(square.triu(1).t()));
    band.copy_(sum);
    matrix.slice(0, end).slice(1, first, end).copy_(sum.slice(1, end - first).t());
  }
  return absl::OkStatus();
}

// Vectors of one length travel as one.
template <typename Reduce>
absl::Status ReduceTogether(std::vector<at::Tensor*> vectors, const Reduce& reduce) {
  std::erase_if(vectors, [](const at::Tensor* vector) { return !vector->defined(); });
  if (vectors.empty()) return absl::OkStatus();
  std::vector<at::Tensor> parts;
  parts.reserve(vectors.size());
  for (const at::Tensor* vector : vectors) parts.push_back(*vector);
  const at::Tensor together = at::cat(parts);
  CALIPRESS_RETURN_IF_ERROR(reduce(together));
  int64_t begin = 0;
  for (at::Tensor* vector : vectors) {
    const int64_t size = vector->size(0);
    *vector = together.narrow(0, begin, size).clone();
    begin += size;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ShareStatistics(collective::Group& group, const method::StatisticsNeeds& needs, int64_t features,
                             const at::TensorOptions& sample_options, method::InputStatistics& statistics) {
  const auto sum = [&](const at::Tensor& tensor) { return group.AllReduceSum(tensor); };
  std::vector<at::Tensor*> sums = {&statistics.absolute_sum, &statistics.sum, &statistics.variance_sum};
  if (statistics.second_moment.defined()) {
    CALIPRESS_RETURN_IF_ERROR(SumSymmetric(group, statistics.second_moment));
    statistics.square_sum = statistics.second_moment.diagonal().clone();
  } else {
    sums.push_back(&statistics.square_sum);
  }
  CALIPRESS_RETURN_IF_ERROR(ReduceTogether(sums, sum));
  CALIPRESS_RETURN_IF_ERROR(
      ReduceTogether({&statistics.absolute_max}, [&](const at::Tensor& tensor) { return group.AllReduceMax(tensor); }));

  // Tokens, sequences, and the sample's rows on each rank.
  at::Tensor counts = at::zeros({2 + group.size()}, at::kLong);
  counts[0] = statistics.tokens;
  counts[1] = statistics.sequences;
  if (statistics.sample.defined()) counts[2 + group.rank()] = statistics.sample.size(0);
  counts = counts.to(sample_options.device());
  CALIPRESS_RETURN_IF_ERROR(group.AllReduceSum(counts));
  counts = counts.cpu();
  statistics.tokens = counts[0].item<int64_t>();
  statistics.sequences = counts[1].item<int64_t>();
  if (needs.sample_rows == 0) return absl::OkStatus();
  std::vector<at::Tensor> parts;
  parts.reserve(static_cast<size_t>(group.size()));
  for (int rank = 0; rank < group.size(); ++rank) {
    parts.push_back(at::empty({counts[2 + rank].item<int64_t>(), features}, sample_options));
  }
  if (statistics.sample.defined()) parts[group.rank()] = statistics.sample.contiguous();
  CALIPRESS_RETURN_IF_ERROR(group.AllGather(parts));
  const at::Tensor sample = at::cat(parts);
  statistics.sample = sample.narrow(0, 0, std::min(needs.sample_rows, sample.size(0))).clone();
  return absl::OkStatus();
}

}  // namespace calipress::engine
