#include "server/api/compression_service.h"

#include <algorithm>
#include <optional>
#include <string>

#include "compress/arch/arch.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/base/thread.h"
#include "compress/base/version.h"
#include "compress/recipe/recipe.h"
#include "server/api/error_mapping.h"
#include "server/api/request_checks.h"

namespace calipress::api {
namespace {

// A stream that has only its end to tell.
class RefusedStream : public grpc::ServerWriteReactor<v1::WatchCompressionJobResponse> {
 public:
  explicit RefusedStream(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

// Moves a value into the response, or answers with the failure.
template <typename T>
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, absl::StatusOr<T> result, T* response) {
  const absl::Status status = result.status();
  if (status.ok()) *response = *std::move(result);
  return Answer(context, status);
}

absl::Status Draining() {
  return MakeError(absl::StatusCode::kUnavailable, reason::kDraining, ErrorClass::kEnvironment,
                   "the coordinator is stopping; send the request again in a moment");
}

absl::Status TooManyRequests() {
  return MakeError(absl::StatusCode::kResourceExhausted, reason::kQueueFull, ErrorClass::kEnvironment,
                   "too many requests are being checked; send it again in a moment");
}

}  // namespace

CompressionService::CompressionService(fleet::Coordinator* coordinator, storage::ObjectStore* store,
                                       const ServiceOptions& options)
    : coordinator_(*coordinator),
      admission_(store),
      options_(options),
      admissions_("admission", options.admission_threads, options.admission_queue),
      ticker_(StartThread("watch-ticker", [this] { RunTicks(); })) {}

CompressionService::~CompressionService() { Stop(); }

void CompressionService::Stop() {
  std::vector<std::weak_ptr<WatchStream>> streams;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    streams.swap(streams_);
  }
  stopping_.notify_all();
  if (ticker_.joinable()) ticker_.join();
  for (const auto& weak : streams) {
    if (const auto stream = weak.lock()) stream->Stop();
  }
  admissions_.Stop();
}

grpc::ServerUnaryReactor* CompressionService::CreateCompressionJob(grpc::CallbackServerContext* context,
                                                                   const v1::CreateCompressionJobRequest* request,
                                                                   v1::CompressionJob* job) {
  if (const absl::Status status = CheckCreate(*request); !status.ok()) return Answer(context, status);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool added = admissions_.Add([this, reactor, request, job](bool run) {
    reactor->Finish(ToGrpcStatus(run ? Create(*request, job) : Draining()));
  });
  if (!added) reactor->Finish(ToGrpcStatus(stopped() ? Draining() : TooManyRequests()));
  return reactor;
}

absl::Status CompressionService::Create(const v1::CreateCompressionJobRequest& request, v1::CompressionJob* job) {
  fleet::Submission submission;
  submission.job_id = request.compression_job_id();
  submission.request_id = request.request_id();
  submission.request_digest = RequestDigest(request);
  if (!submission.request_id.empty() && !request.validate_only()) {
    // Before admission: the first request's own output would be in the way of the second.
    CALIPRESS_ASSIGN_OR_RETURN(auto earlier,
                               coordinator_.FindByRequest(submission.request_id, submission.request_digest));
    if (earlier) {
      *job = *std::move(earlier);
      return absl::OkStatus();
    }
  }
  CALIPRESS_ASSIGN_OR_RETURN(submission.job, admission_.Admit(request.compression_job(), coordinator_.Workers()));
  if (request.validate_only()) {
    *job = std::move(submission.job);
    return absl::OkStatus();
  }
  CALIPRESS_ASSIGN_OR_RETURN(*job, coordinator_.Submit(submission));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* CompressionService::GetCompressionJob(grpc::CallbackServerContext* context,
                                                                const v1::GetCompressionJobRequest* request,
                                                                v1::CompressionJob* job) {
  if (const absl::Status status = CheckName(request->name()); !status.ok()) return Answer(context, status);
  return Answer(context, coordinator_.Get(request->name()), job);
}

grpc::ServerUnaryReactor* CompressionService::ListCompressionJobs(grpc::CallbackServerContext* context,
                                                                  const v1::ListCompressionJobsRequest* request,
                                                                  v1::ListCompressionJobsResponse* response) {
  if (const absl::Status status = CheckList(*request); !status.ok()) return Answer(context, status);
  return Answer(context, coordinator_.List(*request), response);
}

grpc::ServerUnaryReactor* CompressionService::CancelCompressionJob(grpc::CallbackServerContext* context,
                                                                   const v1::CancelCompressionJobRequest* request,
                                                                   v1::CompressionJob* job) {
  if (const absl::Status status = CheckCancel(*request); !status.ok()) return Answer(context, status);
  return Answer(context, coordinator_.Cancel(request->name(), request->etag()), job);
}

grpc::ServerUnaryReactor* CompressionService::DeleteCompressionJob(grpc::CallbackServerContext* context,
                                                                   const v1::DeleteCompressionJobRequest* request,
                                                                   google::protobuf::Empty* /*response*/) {
  if (const absl::Status status = CheckName(request->name()); !status.ok()) return Answer(context, status);
  return Answer(context, coordinator_.Delete(request->name()));
}

grpc::ServerWriteReactor<v1::WatchCompressionJobResponse>* CompressionService::WatchCompressionJob(
    grpc::CallbackServerContext* /*context*/, const v1::WatchCompressionJobRequest* request) {
  if (const absl::Status status = CheckWatch(*request); !status.ok()) return new RefusedStream(status);
  const auto stream = WatchStream::Start(&coordinator_, *request, options_.alive_interval);
  bool stopped = false;
  {
    const std::lock_guard lock(mutex_);
    stopped = stopped_;
    if (!stopped) streams_.push_back(stream);
  }
  if (stopped) stream->Stop();
  return stream.get();
}

grpc::ServerUnaryReactor* CompressionService::ListWorkers(grpc::CallbackServerContext* context,
                                                          const v1::ListWorkersRequest* /*request*/,
                                                          v1::ListWorkersResponse* response) {
  for (v1::WorkerInfo& worker : coordinator_.Workers()) *response->add_workers() = std::move(worker);
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* CompressionService::GetServerInfo(grpc::CallbackServerContext* context,
                                                            const v1::GetServerInfoRequest* /*request*/,
                                                            v1::ServerInfo* info) {
  info->set_version(std::string(kVersion));
  info->set_revision(std::string(BuildRevision()));
  for (const std::string& method : recipe::AvailableMethods()) info->add_methods(method);
  for (const char* format : {"compressed-tensors", "gptq", "awq", "spqr", "dense"}) info->add_formats(format);
  for (std::string& family : arch::KnownModelTypes()) info->add_model_families(std::move(family));
  for (const char* scheme : {"file", "s3", "gs", "abfs"}) info->add_storage_schemes(scheme);
  return Answer(context, absl::OkStatus());
}

bool CompressionService::stopped() {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

void CompressionService::RunTicks() {
  const auto pause = std::min<std::chrono::milliseconds>(options_.alive_interval / 4, std::chrono::milliseconds(1000));
  while (true) {
    std::vector<std::shared_ptr<WatchStream>> alive;
    {
      std::unique_lock lock(mutex_);
      if (stopping_.wait_for(lock, pause, [this] { return stopped_; })) return;
      std::erase_if(streams_, [](const auto& weak) { return weak.expired(); });
      for (const auto& weak : streams_) {
        if (auto stream = weak.lock()) alive.push_back(std::move(stream));
      }
    }
    for (const auto& stream : alive) stream->Tick();
  }
}

}  // namespace calipress::api
