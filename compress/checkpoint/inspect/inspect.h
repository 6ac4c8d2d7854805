#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/arch/arch.h"
#include "compress/base/cancellation.h"
#include "compress/storage/object_store.h"

namespace calipress::checkpoint {

// What of a linear's weight is zero, as loaders make it.
struct ZeroCount {
  int64_t zeros = 0;
  // Every run of `of` columns has at least this many: 4 or 8, whichever says more. 0: none does.
  int run_zeros = 0, of = 0;
};

struct LinearInspection {
  std::string module;
  int64_t out = 0, in = 0;
  std::string scheme;  // "int4 g128", "int8 channel asymmetric", "spqr4 g16", "BF16"
  bool quantized = false;
  int64_t bytes = 0;  // of all tensors that hold it: codes, scales, zero points, shapes; not the bias
  std::optional<ZeroCount> zeros;

  double BitsPerWeight() const { return 8.0 * static_cast<double>(bytes) / (static_cast<double>(out) * in); }
};

struct Inspection {
  arch::ArchSpec spec;
  std::string format;                     // as FormatName
  std::vector<LinearInspection> linears;  // in block order
  int64_t parameters = 0, bytes = 0;      // of all tensors; parameters as the model computes with them
  int64_t linear_weights = 0, linear_bytes = 0;
  std::optional<int64_t> linear_zeros;
};

// What a checkpoint is. Tensors are read by range, at most one linear's codes at a time. Without `count_zeros` headers
// and config.json alone are read.
absl::StatusOr<Inspection> Inspect(storage::ObjectStore& store, const std::string& uri, bool count_zeros,
                                   const CancellationToken& cancellation);

// Counts row after row of a weight [any, in].
class ZeroCounter {
 public:
  // `in` columns of floating numbers of `width` bytes.
  ZeroCounter(int64_t in, int64_t width) : in_(in), width_(width) {}
  void Add(const void* rows, int64_t count);
  ZeroCount Result() const;

 private:
  static constexpr int kRuns[] = {4, 8};

  const int64_t in_, width_;
  int64_t zeros_ = 0;
  int least_[2] = {4, 8};  // zeros of any run of 4, of 8
  bool any_ = false;
  std::vector<char> is_zero_;
};

}  // namespace calipress::checkpoint
