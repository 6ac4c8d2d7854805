#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "compress/calibration/source.h"
#include "compress/calibration/source_request.h"

namespace calipress::calibration {

// Texts that the model goes on with from the first tokens of given documents (methods.md 4.1). Documents in the order
// that stream 0 of the seed gives them, of a draw those whose place is its index modulo `of`; those shorter than the
// prefix are passed over. Text i draws from stream draw * 2^32 + 1 + i. The filter acts on the texts; of what it leaves
// the share with the highest perplexity is dropped; the others are decoded without special tokens. Pack: each tokenized
// with its special tokens, end to end, cut. Window: joined with a space and tokenized once; window j begins where
// stream draw * 2^32 + 2^31 + j says.
//
// Without `texts` it writes until the samples are filled. INVALID_CALIBRATION_DATA for too few documents, with how many
// were too short, and for texts that do not fill the samples.
absl::StatusOr<SourceTokens> TokensFromPrefixes(const v1::PrefixGeneratedSource& source, const SourceRequest& request,
                                                const SourceContext& context);

// The places of all values but the share that is highest, in rising order: as many as lie below the quantile where no
// two are equal (numpy.percentile). Of equal values the last go first, what is no number before any.
std::vector<size_t> WithoutTheHighest(const std::vector<double>& values, double share);

}  // namespace calipress::calibration
