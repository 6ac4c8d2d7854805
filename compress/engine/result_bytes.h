#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/engine/byte_buffer.h"
#include "compress/method/method.h"

namespace calipress::engine {

// What a linear became, to and from another rank. Weights that codes stand for are not sent but made again of them, to
// the same bits.
void PutResult(const method::LinearResult& result, ByteWriter& writer);
method::LinearResult TakeResult(ByteReader& reader, at::Device device);

// Results of runs of rows, in order, as one of all rows. At least one.
method::LinearResult JoinRows(const std::vector<method::LinearResult>& parts);

}  // namespace calipress::engine
