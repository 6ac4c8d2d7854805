#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calipress/v1/calibration.pb.h"
#include "compress/recipe/calibration_plan.h"

namespace calipress::calibration {

// What one source of a set is asked for.
struct SourceRequest {
  int64_t sequences = 0;  // or recipe::kAllSequences
  int64_t length = 0;     // of a sequence; 0: the file decides (token_ids alone)
  uint64_t seed = 0;
  // One of several disjoint draws: of the shuffled documents (rows, streams) those at places = draw modulo draws.
  // `drawn`: whether the recipe asks for one; without, rows of token ids stay in the file's order.
  bool drawn = false;
  int64_t draw = 0;
  int64_t draws = 1;
  v1::Filter filter;
};

// What it gives: whole sequences, and what it took to get them.
struct SourceTokens {
  int64_t sequences = 0;
  int64_t length = 0;
  std::vector<int64_t> ids;
  int64_t documents = 0;  // (conversations, rows) that were looked at
  int64_t filtered = 0;   // of these left out by the filter
};

// " in draw 2 (from 0) of 5", or nothing.
std::string DrawText(const SourceRequest& request);

}  // namespace calipress::calibration
