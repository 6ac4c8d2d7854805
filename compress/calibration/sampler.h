#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/calibration/model_oracle.h"

namespace calipress::calibration {

// Of generated token i of a text, from 0 (methods.md 1.1).
double TemperatureOf(const GenerationRequest& request, int64_t token);

// Picks tokens from logits, in the order of transformers' processors: what is not allowed as a first token goes, then
// the repetition penalty, the temperature, top-k (equals of the k-th stay), top-p (of equals the lower id goes first).
// The result is a function of its arguments, the same on every processor. Thread-safe; a workspace is one thread's.
class Sampler {
 public:
  struct Workspace {
    std::vector<float> scores;
    std::vector<float> weights;
    std::vector<int64_t> kept;
  };

  // `request` outlives the sampler.
  Sampler(const GenerationRequest& request, int64_t vocabulary);

  // `text`: the tokens before, from the text's beginning; `token`: how many of them were generated; `draw`: uniform in
  // [0, 1). -1 where no logit is finite, or one is NaN.
  int64_t Pick(std::span<const float> logits, std::span<const int64_t> text, int64_t token, double draw,
               Workspace* workspace) const;

 private:
  // Keeps in `kept` what top-k and top-p leave of it.
  void KeepTopK(Workspace* workspace) const;
  void KeepTopP(Workspace* workspace) const;

  const GenerationRequest& request_;
  std::vector<int64_t> first_ids_;  // sorted
};

// -log p(id), natural, at temperature 1.
double NegativeLogLikelihood(std::span<const float> logits, int64_t id, Sampler::Workspace* workspace);

}  // namespace calipress::calibration
