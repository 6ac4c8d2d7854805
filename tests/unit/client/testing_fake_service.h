#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "calipress/v1/compression_service.grpc.pb.h"

namespace calipress::client {

// A real gRPC server on loopback whose answers a test scripts.
class FakeService : public v1::CompressionService::Service {
 public:
  FakeService() { Start("127.0.0.1:0"); }
  ~FakeService() override { Stop(); }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  void Stop() {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  void Restart() { Start(address()); }

  // The next answers of any unary call; OK when there are none left.
  void FailNext(std::vector<grpc::Status> statuses) {
    const std::lock_guard lock(mutex_);
    failures_.assign(statuses.begin(), statuses.end());
  }

  v1::CompressionJob job;  // what Get, Create and Cancel answer with
  v1::ListWorkersResponse workers;
  std::vector<v1::CreateCompressionJobRequest> creates;
  std::vector<v1::ListCompressionJobsRequest> lists;
  std::vector<int64_t> watched_after;
  std::vector<std::string> names;
  int pages = 1;
  // Called for every watch.
  std::function<grpc::Status(int64_t after, grpc::ServerWriter<v1::WatchCompressionJobResponse>*, grpc::ServerContext*)>
      on_watch;

  static grpc::Status Unavailable() { return {grpc::StatusCode::UNAVAILABLE, "going away"}; }

  static v1::JobEvent Event(int64_t sequence, v1::CompressionJob::State state) {
    v1::JobEvent event;
    event.set_sequence(sequence);
    event.set_state(state);
    event.mutable_time()->set_seconds(1000 + sequence);
    return event;
  }

 private:
  void Start(const std::string& address) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }

  grpc::Status Next() {
    if (failures_.empty()) return grpc::Status::OK;
    grpc::Status status = failures_.front();
    failures_.pop_front();
    return status;
  }

  grpc::Status CreateCompressionJob(grpc::ServerContext*, const v1::CreateCompressionJobRequest* request,
                                    v1::CompressionJob* answer) override {
    const std::lock_guard lock(mutex_);
    creates.push_back(*request);
    *answer = job;
    return Next();
  }
  grpc::Status GetCompressionJob(grpc::ServerContext*, const v1::GetCompressionJobRequest* request,
                                 v1::CompressionJob* answer) override {
    const std::lock_guard lock(mutex_);
    names.push_back(request->name());
    *answer = job;
    return Next();
  }
  grpc::Status CancelCompressionJob(grpc::ServerContext*, const v1::CancelCompressionJobRequest* request,
                                    v1::CompressionJob* answer) override {
    const std::lock_guard lock(mutex_);
    names.push_back(request->name());
    *answer = job;
    return Next();
  }
  grpc::Status DeleteCompressionJob(grpc::ServerContext*, const v1::DeleteCompressionJobRequest* request,
                                    google::protobuf::Empty*) override {
    const std::lock_guard lock(mutex_);
    names.push_back(request->name());
    return Next();
  }
  grpc::Status ListCompressionJobs(grpc::ServerContext*, const v1::ListCompressionJobsRequest* request,
                                   v1::ListCompressionJobsResponse* answer) override {
    const std::lock_guard lock(mutex_);
    lists.push_back(*request);
    *answer->add_compression_jobs() = job;
    if (static_cast<int>(lists.size()) < pages) answer->set_next_page_token("page" + std::to_string(lists.size()));
    return Next();
  }
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse* answer) override {
    const std::lock_guard lock(mutex_);
    *answer = workers;
    return Next();
  }
  grpc::Status WatchCompressionJob(grpc::ServerContext* context, const v1::WatchCompressionJobRequest* request,
                                   grpc::ServerWriter<v1::WatchCompressionJobResponse>* writer) override {
    {
      const std::lock_guard lock(mutex_);
      watched_after.push_back(request->after_sequence());
    }
    return on_watch ? on_watch(request->after_sequence(), writer, context) : grpc::Status::OK;
  }

  std::mutex mutex_;
  std::deque<grpc::Status> failures_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace calipress::client
