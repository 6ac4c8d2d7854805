#pragma once

#include <map>
#include <string>

#include "compress/checkpoint/formats/linear_format.h"

namespace calipress::checkpoint::testing {

// A linear with random codes in the whole range of its scheme, random zero points where it has them, and scales of
// `dtype` that are powers of two.
CodesLinear RandomLinear(const QuantizationScheme& scheme, int64_t out, int64_t in, Dtype dtype, uint64_t seed);

// Its tensors as a format writes them, by name.
using StoredTensors = std::map<std::string, StoredTensor>;
StoredTensors Store(const LinearFormat& format, const std::string& module, const CodesLinear& linear);

// `tensors` outlives the source.
TensorSource SourceOf(const StoredTensors& tensors);

// The tensor's 32-bit words.
std::vector<uint32_t> Words(const StoredTensor& tensor);
StoredTensor OfWords(std::vector<int64_t> shape, const std::vector<uint32_t>& words);

}  // namespace calipress::checkpoint::testing
