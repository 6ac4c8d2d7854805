#include "client/lib/compression_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calipress/v1/compression_service.grpc.pb.h"
#include "client/lib/backoff.h"
#include "client/lib/rpc_error.h"
#include "client/lib/watch_stream.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "google/protobuf/empty.pb.h"

namespace calipress::client {
namespace {

constexpr int kLargestReport = 256 << 20;

void Sleep(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

bool IsLoopback(const std::string& address) {
  return address.rfind("127.", 0) == 0 || address.rfind("localhost:", 0) == 0 || address.rfind("[::1]:", 0) == 0;
}

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  // A proxy of the environment cannot know this machine's loopback.
  if (IsLoopback(address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // gRPC's own pauses would outlast ours.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Reports of large studies and models.
  arguments.SetMaxReceiveMessageSize(kLargestReport);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

class GrpcClient : public CompressionClient {
 public:
  GrpcClient(const std::string& address, const ClientOptions& options)
      : address_(address), options_(options), stub_(v1::CompressionService::NewStub(OpenChannel(address))) {}

  absl::StatusOr<v1::CompressionJob> Create(v1::CreateCompressionJobRequest request) override {
    if (request.request_id().empty()) request.set_request_id(NewRequestId());
    return Call<v1::CompressionJob>(&Stub::CreateCompressionJob, request);
  }

  absl::StatusOr<v1::CompressionJob> Get(const std::string& name) override {
    v1::GetCompressionJobRequest request;
    request.set_name(name);
    return Call<v1::CompressionJob>(&Stub::GetCompressionJob, request);
  }

  absl::StatusOr<v1::ListCompressionJobsResponse> List(const v1::ListCompressionJobsRequest& request) override {
    return Call<v1::ListCompressionJobsResponse>(&Stub::ListCompressionJobs, request);
  }

  absl::StatusOr<v1::CompressionJob> Cancel(const std::string& name) override {
    v1::CancelCompressionJobRequest request;
    request.set_name(name);
    return Call<v1::CompressionJob>(&Stub::CancelCompressionJob, request);
  }

  absl::Status Delete(const std::string& name) override {
    v1::DeleteCompressionJobRequest request;
    request.set_name(name);
    int tries = 0;
    const absl::Status status = Call<google::protobuf::Empty>(&Stub::DeleteCompressionJob, request, &tries).status();
    // An earlier try may have deleted it before its answer was lost.
    return tries > 1 && absl::IsNotFound(status) ? absl::OkStatus() : status;
  }

  absl::StatusOr<v1::ListWorkersResponse> ListWorkers() override {
    return Call<v1::ListWorkersResponse>(&Stub::ListWorkers, v1::ListWorkersRequest());
  }

  absl::StatusOr<v1::ServerInfo> GetServerInfo() override {
    return Call<v1::ServerInfo>(&Stub::GetServerInfo, v1::GetServerInfoRequest());
  }

  absl::Status Watch(const std::string& name, int64_t after_sequence,
                     const std::function<void(const v1::JobEvent&)>& on_event,
                     const CancellationToken& cancellation) override {
    int64_t sequence = after_sequence;
    bool ended = false;
    Backoff backoff(options_.watch_retry_seconds);
    while (true) {
      if (cancellation.cancelled()) return cancellation.status();
      const auto on_answer = [&](const v1::WatchCompressionJobResponse& answer) {
        backoff.Reset();
        for (const v1::JobEvent& event : answer.events()) {
          if (event.sequence() <= sequence) continue;  // sent again after a resumption
          sequence = event.sequence();
          ended = HasEnded(event.state());
          on_event(event);
        }
      };
      v1::WatchCompressionJobRequest request;
      request.set_name(name);
      request.set_after_sequence(sequence);
      const grpc::Status status =
          ReadWatchStream(*stub_, request, options_.watch_silence_seconds, cancellation, on_answer);
      if (cancellation.cancelled()) return cancellation.status();
      if (ended) return absl::OkStatus();
      if (status.ok()) {
        // Without a last event of its own: the watch began after it, or the server is going away.
        const auto job = Get(name);
        if (!job.ok()) return job.status();
        if (HasEnded(job->state())) return absl::OkStatus();
      } else if (!IsPassing(status)) {
        return ToStatus(status);
      }
      const double pause = backoff.NextPause();
      if (pause < 0) {
        return ToStatus(status.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "watches end without a word")
                                    : status);
      }
      LogDebug("watch is opened again", {{"job", name}, {"after", sequence}, {"why", status.error_message()}});
      Sleep(pause);
    }
  }

 private:
  using Stub = v1::CompressionService::Stub;

  static bool IsPassing(const grpc::Status& status) {
    return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
           status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  }

  // The server is away, or says that it will be back. An UNAVAILABLE of another reason (storage that cannot be reached)
  // is an answer: the server has tried again itself.
  bool MayRepeat(const grpc::Status& status) const {
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return false;
    return IsServerAway(ToStatus(status));
  }

  // One call with a deadline, tried again while the server is not there. Every call of this service may be repeated:
  // Create through its request_id, the others by nature.
  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request, int* tries = nullptr) {
    Backoff backoff(options_.retry_seconds);
    while (true) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() +
                           std::chrono::milliseconds(static_cast<int64_t>(options_.call_seconds * 1000)));
      Response response;
      const grpc::Status status = (stub_.get()->*method)(&context, request, &response);
      if (tries != nullptr) ++*tries;
      if (status.ok()) return response;
      const double pause = MayRepeat(status) ? backoff.NextPause() : -1;
      if (pause < 0) return ToStatus(status);
      Sleep(pause);
    }
  }

  absl::Status ToStatus(const grpc::Status& status) const {
    google::rpc::Status details;
    if (!status.error_details().empty() && details.ParseFromString(status.error_details()) &&
        details.code() == static_cast<int>(status.error_code())) {
      return FromRpcStatus(details);
    }
    const auto code = static_cast<absl::StatusCode>(status.error_code());
    // gRPC's own words ("failed to connect to all addresses; ...") lack the one thing a user can check.
    if (IsPassing(status)) {
      return MakeError(code, reason::kInternal, ErrorClass::kEnvironment,
                       absl::StrCat("cannot reach a calipress server at ", address_, ": ", status.error_message()));
    }
    return absl::Status(code, status.error_message());
  }

  const std::string address_;
  const ClientOptions options_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace

std::unique_ptr<CompressionClient> CompressionClient::Connect(const std::string& address,
                                                              const ClientOptions& options) {
  return std::make_unique<GrpcClient>(address, options);
}

std::string NewRequestId() {
  std::string digits = RandomId();
  digits[12] = '4';
  // The two high bits of this digit are the variant, 10.
  const std::string_view variants = "89ab";
  digits[16] = variants[static_cast<size_t>(digits[16]) % 4];
  return absl::StrCat(digits.substr(0, 8), "-", digits.substr(8, 4), "-", digits.substr(12, 4), "-",
                      digits.substr(16, 4), "-", digits.substr(20));
}

bool IsServerAway(const absl::Status& status) {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return false;
  const std::string why = ErrorReason(status);
  return why == reason::kInternal || why == reason::kStoreUnavailable || why == reason::kDraining;
}

bool HasEnded(v1::CompressionJob::State state) {
  return state == v1::CompressionJob::SUCCEEDED || state == v1::CompressionJob::FAILED ||
         state == v1::CompressionJob::CANCELLED;
}

}  // namespace calipress::client
