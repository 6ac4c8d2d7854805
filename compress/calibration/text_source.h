#pragma once

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "compress/calibration/source.h"

namespace calipress::calibration {

// Sequences from a text file, [samples, sequence_length]. Draws come from streams of the seed alone: the order of the
// documents from stream 0, the window of document i from stream i + 1. No document is used twice.
//
// Pack: documents in shuffled order, each with its special tokens, end to end; cut. Window: from each document in that
// order that has enough tokens, its special tokens included, one window.
absl::StatusOr<TokenMatrix> TokensFromText(const v1::TextSource& source, const v1::Calibration& calibration,
                                           const SourceContext& context);

}  // namespace calipress::calibration
