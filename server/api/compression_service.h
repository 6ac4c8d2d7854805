#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "calipress/v1/compression_service.grpc.pb.h"
#include "compress/storage/object_store.h"
#include "server/api/admission.h"
#include "server/api/watch_stream.h"
#include "server/api/work_queue.h"
#include "server/fleet/coordinator.h"

namespace calipress::api {

struct ServiceOptions {
  // A watcher that hears nothing for so long is told that the stream is alive.
  std::chrono::milliseconds alive_interval{10'000};
  // Requests that are checked at once, and those that may wait for it.
  int admission_threads = 4;
  int admission_queue = 256;
};

// The public API over a coordinator. A rim: it checks requests, translates errors and keeps streams; what happens to
// jobs is the coordinator's. Calls that touch storage (Create) run on threads of their own.
class CompressionService : public v1::CompressionService::CallbackService {
 public:
  // `coordinator` and `store` outlive the service.
  CompressionService(fleet::Coordinator* coordinator, storage::ObjectStore* store, const ServiceOptions& options = {});
  ~CompressionService() override;

  // Ends the watchers' streams and the waiting requests with DRAINING. Call before the gRPC server is shut down.
  void Stop();

  grpc::ServerUnaryReactor* CreateCompressionJob(grpc::CallbackServerContext* context,
                                                 const v1::CreateCompressionJobRequest* request,
                                                 v1::CompressionJob* job) override;
  grpc::ServerUnaryReactor* GetCompressionJob(grpc::CallbackServerContext* context,
                                              const v1::GetCompressionJobRequest* request,
                                              v1::CompressionJob* job) override;
  grpc::ServerUnaryReactor* ListCompressionJobs(grpc::CallbackServerContext* context,
                                                const v1::ListCompressionJobsRequest* request,
                                                v1::ListCompressionJobsResponse* response) override;
  grpc::ServerUnaryReactor* CancelCompressionJob(grpc::CallbackServerContext* context,
                                                 const v1::CancelCompressionJobRequest* request,
                                                 v1::CompressionJob* job) override;
  grpc::ServerUnaryReactor* DeleteCompressionJob(grpc::CallbackServerContext* context,
                                                 const v1::DeleteCompressionJobRequest* request,
                                                 google::protobuf::Empty* response) override;
  grpc::ServerWriteReactor<v1::WatchCompressionJobResponse>* WatchCompressionJob(
      grpc::CallbackServerContext* context, const v1::WatchCompressionJobRequest* request) override;
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* info) override;

 private:
  absl::Status Create(const v1::CreateCompressionJobRequest& request, v1::CompressionJob* job);
  bool stopped();
  // Ticks the streams; drops those that are gone.
  void RunTicks();

  fleet::Coordinator& coordinator_;
  const Admission admission_;
  const ServiceOptions options_;
  WorkQueue admissions_;

  std::mutex mutex_;
  std::condition_variable stopping_;
  bool stopped_ = false;                             // guarded by mutex_
  std::vector<std::weak_ptr<WatchStream>> streams_;  // guarded by mutex_
  std::jthread ticker_;
};

}  // namespace calipress::api
