#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/base/random.h"
#include "compress/calibration/model_oracle.h"

namespace calipress::engine {

// Which row of a decoding step writes which sequence, and where it stands. A row whose sequence is complete takes the
// next one that waits. Every stage has one of these and advances it by the same tokens, so that all know what the
// others do. Not thread-safe.
class GenerationSlots {
 public:
  // Sequences [first, first + count) of the request, which outlives this, in `groups` groups of `rows` rows.
  GenerationSlots(const calibration::GenerationRequest& request, int64_t first, int64_t count, int64_t groups,
                  int64_t rows);

  // Whether some row of the group has a token to take in.
  bool Active(int64_t group) const;
  // What each row takes in next (0 where idle), and where in its text that stands, from 0 (-1 where idle).
  std::vector<int64_t> Tokens(int64_t group) const;
  std::vector<int64_t> Positions(int64_t group) const;

  // What comes after a row's token.
  struct Next {
    int64_t sequence = -1;          // from 0, of those here; -1: the row is idle
    int64_t known = -1;             // the prompt's; -1: the model writes it
    std::span<const int64_t> text;  // up to the token, from the text's beginning
    int64_t written = 0;            // how many of them the model wrote
  };
  Next NextOf(int64_t group, int64_t row) const;
  // The next number in [0, 1) of the row's sequence; the model's token i takes the i-th.
  double Draw(int64_t group, int64_t row);

  // `written`: for each row the token that the model wrote, whatever it is where it wrote none.
  void Advance(int64_t group, std::span<const int64_t> written);

  // The tokens so far, and how many of them the model predicted.
  const std::vector<std::vector<int64_t>>& sequences() const { return ids_; }
  const std::vector<int64_t>& predicted() const { return predicted_; }
  // By the model, in all sequences.
  int64_t written() const { return written_; }

 private:
  struct Row {
    int64_t sequence = -1;
    int64_t begin = 0;    // of the text
    int64_t at = 0;       // the token to take in
    int64_t written = 0;  // of the text
    RandomStream random{0, 0};
  };
  void TakeNext(Row* row);
  void AdvanceRow(Row* row, int64_t written);
  bool IsEnd(int64_t id) const;
  const Row& row(int64_t group, int64_t index) const { return slots_[group * rows_ + index]; }

  const calibration::GenerationRequest& request_;
  const int64_t first_, rows_;
  int64_t waiting_ = 0;
  int64_t written_ = 0;
  std::vector<std::vector<int64_t>> ids_;
  std::vector<int64_t> predicted_;
  std::vector<Row> slots_;
};

}  // namespace calipress::engine
