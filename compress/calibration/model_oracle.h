#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace calipress::calibration {

// What the model is to write. Sequence i draws from random stream first_stream + i of the seed alone: its tokens do not
// depend on how many others there are, nor on how the work is divided.
struct GenerationRequest {
  int64_t sequences = 0;
  uint64_t seed = 0;
  uint64_t first_stream = 0;
  // What sequence i begins with, one token at least each.
  std::vector<std::vector<int64_t>> prompts;
  // Tokens of a sequence at most, its prompt included. At most the model's positions.
  int64_t tokens = 0;
  // Of generated token i (from 0): initial + (i / schedule_tokens) * (final - initial), and final from schedule_tokens
  // on (methods.md 1.1). 0: the likeliest token; among equals the lowest id.
  double initial_temperature = 1.0;
  double final_temperature = 1.0;
  int64_t schedule_tokens = 1;
  int64_t top_k = 0;                // 0: all
  double top_p = 1.0;               // 1: all
  double repetition_penalty = 1.0;  // 1: none
  // What generated token 0 may be; empty: anything.
  std::vector<int64_t> first_ids;
  // A text ends with one of these, which it keeps.
  std::vector<int64_t> end_ids;
  // Where a text ends, begin another with the prompt behind it, as if nothing were before it, until the sequence is
  // full. False: a sequence ends with its text.
  bool restart = false;
};

// A sequence and what the model thinks of it.
struct ScoredSequence {
  std::vector<int64_t> ids;
  // Sum over the tokens that the model predicted of -log p, natural, at temperature 1 and over the whole vocabulary.
  double negative_log_likelihood = 0.0;
  int64_t predicted = 0;

  // Not a number where nothing was predicted.
  double Perplexity() const;
};

// The original model, as far as calibration data asks for it. compress/engine answers with all of the job's workers.
class ModelOracle {
 public:
  virtual ~ModelOracle() = default;
  virtual absl::StatusOr<std::vector<ScoredSequence>> Generate(const GenerationRequest& request) = 0;
  // Every token but the first of each sequence, of one to the model's positions tokens.
  virtual absl::StatusOr<std::vector<ScoredSequence>> Score(std::vector<std::vector<int64_t>> sequences) = 0;
};

}  // namespace calipress::calibration
