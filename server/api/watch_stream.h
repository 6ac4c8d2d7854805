#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "calipress/v1/compression_service.pb.h"
#include "server/fleet/coordinator.h"

namespace calipress::api {

// One WatchCompressionJob call.
//
// Whoever sets `busy_` owns the stream until it is idle again: it reads the history and writes what there is, and a
// write stays its own until OnWriteDone. News and endings that come meanwhile only leave a note, which the owner looks
// at before it lets go. Nothing of gRPC and of the coordinator is called under the lock. The stream ends with the job,
// with the job's deletion (JOB_NOT_FOUND), with the client, or with Stop; Finish is called once and nothing after it.
// The object keeps itself alive until OnDone.
class WatchStream : public grpc::ServerWriteReactor<v1::WatchCompressionJobResponse>,
                    public std::enable_shared_from_this<WatchStream> {
 public:
  // `coordinator` outlives the stream. The caller hands Start's result to gRPC and keeps no ownership.
  static std::shared_ptr<WatchStream> Start(fleet::Coordinator* coordinator,
                                            const v1::WatchCompressionJobRequest& request,
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

  // There may be something new.
  void Pump();
  // Ends the stream as soon as it is idle; the first status counts.
  void End(const absl::Status& status);
  // As the owner: writes or finishes, or lets go.
  void Work();

  fleet::Coordinator& coordinator_;
  const std::string name_;
  const std::chrono::steady_clock::duration alive_interval_;

  std::mutex mutex_;
  bool busy_ = false;                // somebody owns the stream; for ever once Finish was called
  bool again_ = false;               // news came while somebody did
  std::optional<absl::Status> end_;  // the stream is to end with it
  int64_t after_;                    // the last sequence written
  std::chrono::steady_clock::time_point quiet_since_;

  v1::WatchCompressionJobResponse response_;  // the owner's
  std::shared_ptr<void> subscription_;
  std::shared_ptr<WatchStream> self_;
};

}  // namespace calipress::api
