#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include <grpcpp/support/server_callback.h>

#include "calipress/v1/compression_service.pb.h"
#include "compress/base/clock.h"
#include "server/fleet/coordinator.h"

namespace calipress::api {

// One WatchCompressionJob call.
//
// At most one write is in flight; while it is, news only leaves a note (`again_`). Whoever makes the stream idle looks
// at the note. Reads of the history happen on the thread that brought the news: the coordinator's or gRPC's. Nothing of
// gRPC is called under the lock. The stream ends with the job, with the job's deletion (JOB_NOT_FOUND), with the client,
// or with Stop; Finish is called once and nothing after it. The object keeps itself alive until OnDone.
class WatchStream : public grpc::ServerWriteReactor<v1::WatchCompressionJobResponse>,
                    public std::enable_shared_from_this<WatchStream> {
 public:
  // `coordinator` outlives the stream. The caller hands Start's result to gRPC and keeps no ownership.
  static std::shared_ptr<WatchStream> Start(fleet::Coordinator* coordinator, const v1::WatchCompressionJobRequest& request,
                                            std::chrono::steady_clock::duration alive_interval);
  ~WatchStream() override;

  // Says "alive" where nothing was written for the interval. Any thread.
  void Tick();

  // Ends the stream with DRAINING: the client goes on elsewhere, or later. Any thread.
  void Stop();

 private:
  WatchStream(fleet::Coordinator* coordinator, const v1::WatchCompressionJobRequest& request,
              std::chrono::steady_clock::duration alive_interval);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Writes what there is, if the stream is idle.
  void Pump();
  // Ends the stream as soon as no write is in flight.
  void End(const absl::Status& status);

  fleet::Coordinator& coordinator_;
  const std::string name_;
  const std::chrono::steady_clock::duration alive_interval_;

  std::mutex mutex_;
  bool busy_ = false;                             // a read of the history or a write is under way
  bool again_ = false;                            // news came while busy
  bool finished_ = false;                         // Finish was called
  bool ending_ = false;                           // Finish is to be called when idle
  absl::Status end_status_;                       // with this
  int64_t after_ = 0;                             // the last sequence written
  std::chrono::steady_clock::time_point quiet_since_;
  v1::WatchCompressionJobResponse response_;      // of the one who is busy

  std::shared_ptr<void> subscription_;
  std::shared_ptr<WatchStream> self_;
};

}  // namespace calipress::api
