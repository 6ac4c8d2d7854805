#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "compress/method/method.h"
#include "compress/tensor/column_sums.h"
#include "compress/tensor/second_moment.h"

namespace calipress::engine {

// Statistics of one input of a block, added up as micro-batches pass; no activation is kept but the sample.
class InputAccumulator {
 public:
  // `tokens`: of the whole calibration set, over which the sample is spread. `first_token`: where in it the first one
  // added is.
  InputAccumulator(int64_t features, const method::StatisticsNeeds& needs, int64_t tokens, at::Device device,
                   int64_t first_token = 0);

  // Activations [sequences, length, features] or [tokens, features] (one sequence).
  void Add(const at::Tensor& activations);

  // What was gathered so far. The accumulator keeps its storage: take it once, at the end.
  method::InputStatistics Take();

 private:
  void AddSample(const at::Tensor& rows);

  const method::StatisticsNeeds needs_;
  std::optional<tensor::SecondMoment> moment_;
  tensor::ColumnSums sums_;
  bool sums_wanted_ = false;
  const int64_t first_token_;
  int64_t tokens_ = 0, sequences_ = 0;
  int64_t stride_ = 1;  // of the tokens that are in the sample
  std::vector<at::Tensor> sample_;
};

}  // namespace calipress::engine
