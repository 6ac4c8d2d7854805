#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calipress/v1/calibration.pb.h"

namespace calipress::recipe {

// Sequences of a set whose recipe does not say.
inline constexpr int32_t kDefaultSamples = 128;

// Stands for as many sequences as a source's file has.
inline constexpr int64_t kAllSequences = -1;

// Sequences that each source of a resolved recipe gives: its own `samples`; a part of calibration.samples by weight
// (largest remainders, earlier sources first among equals); or kAllSequences, where calibration.samples is left open
// because every other source is a file of token ids.
std::vector<int64_t> SourceSequences(const v1::Calibration& calibration);

// Their sum; none where a file decides.
std::optional<int64_t> CalibrationSequences(const v1::Calibration& calibration);

// The seed of a source: its own, or calibration.seed plus its place.
uint64_t SourceSeed(const v1::Calibration& calibration, int place);

// Whether any source needs the model's tokenizer: not files of token ids, nor what the model writes from any token.
bool NeedsTokenizer(const v1::Calibration& calibration);

// Whether a source generates, a filter scores, or the report's perplexity is wanted: the original model is asked.
bool AsksModel(const v1::Calibration& calibration);

// "text", "token_ids" and so on; the source's field in the recipe.
std::string SourceKind(const v1::CalibrationSource& source);
// Empty where the source is no file.
std::string SourceUri(const v1::CalibrationSource& source);

}  // namespace calipress::recipe
