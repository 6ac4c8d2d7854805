#pragma once

#include <functional>

#include <grpcpp/support/status.h>

#include "calipress/v1/compression_service.grpc.pb.h"
#include "compress/base/cancellation.h"

namespace calipress::client {

// Reads one WatchCompressionJob stream to its end and gives its status; `on_answer` runs on the calling thread. A
// stream that is silent for `silence_seconds` ends with DEADLINE_EXCEEDED, a raised `cancellation` with CANCELLED
// (noticed within a fifth of a second).
grpc::Status ReadWatchStream(v1::CompressionService::Stub& stub, const v1::WatchCompressionJobRequest& request,
                             double silence_seconds, const CancellationToken& cancellation,
                             const std::function<void(const v1::WatchCompressionJobResponse&)>& on_answer);

}  // namespace calipress::client
