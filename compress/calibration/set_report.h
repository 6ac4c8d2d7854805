#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "calipress/v1/report.pb.h"
#include "compress/calibration/model_oracle.h"
#include "compress/calibration/source.h"

namespace calipress::calibration {

// What a calibration set is like (methods.md 1.6, of arXiv 2410.17170 section 6.3): its shape, fingerprint and parts,
// and, from the ids alone,
//   repetition           share of the tokens that stand earlier in their sequence
//   vocabulary_coverage  distinct ids by `vocabulary`
//   ngram_diversity      mean over n = 1 ... 4 of distinct n-grams by n-grams, none across sequences
//   zipf_exponent        minus the slope of log frequency over log rank by least squares; 0 where one id is all
v1::CalibrationReport ReportOf(const TokenMatrix& tokens, int64_t vocabulary);

// The model's perplexity of about `scored_tokens` tokens: of as many whole sequences as have them (one at least),
// spread evenly over the set. Fills in perplexity and scored_tokens; 0 asks for none.
absl::Status ScoreSet(const TokenMatrix& tokens, int64_t scored_tokens, ModelOracle& model,
                      v1::CalibrationReport* report);

}  // namespace calipress::calibration
