#pragma once

#include <cstdint>
#include <vector>

#include "compress/base/random.h"
#include "compress/calibration/source_request.h"

namespace calipress::calibration {

// Documents in the order in which they are drawn, each once, uniformly (Fisher and Yates), from random stream 0 of the
// seed. A draw has the places of its own of that order: two draws of one seed share no document.
class DrawOrder {
 public:
  DrawOrder(int64_t documents, const SourceRequest& request);

  // Documents of this draw, in all.
  int64_t size() const;
  bool empty() const { return next_ >= left_.size(); }
  int64_t Next();

 private:
  void Step();

  std::vector<int64_t> left_;
  size_t next_ = 0;  // the place that is drawn next
  size_t skip_;      // places between two of this draw's
  size_t first_;
  RandomStream random_;
};

}  // namespace calipress::calibration
