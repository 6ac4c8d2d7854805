#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "calipress/v1/compression_service.grpc.pb.h"
#include "compress/recipe/recipe.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "server/api/compression_service.h"
#include "server/api/grpc_server.h"
#include "server/fleet/coordinator.h"
#include "server/store/job_store.h"
#include "tests/unit/server/assembly/testing_tiny_model.h"

namespace calipress::testing {

// Publishes nothing: no job of these tests gets that far.
class NoPublisher : public fleet::Publisher {
 public:
  absl::Status Publish(const v1::CompressionJob&, const std::vector<worker::v1::StageOutcome>&,
                       const std::vector<worker::v1::FinishedBlock>&, const std::vector<worker::v1::KeptRun>&,
                       v1::Report*) override {
    return absl::UnimplementedError("no publication in this test");
  }
  absl::Status Sweep(const v1::CompressionJob&) override { return absl::OkStatus(); }
};

// The API over a real coordinator, store and gRPC server on loopback, and a client's channel to it. No workers: jobs
// stay queued until they are cancelled.
class ApiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    objects_ = storage::OpenObjectStore();
    auto jobs = store::OpenSqliteJobStore(":memory:");
    ASSERT_TRUE(jobs.ok()) << jobs.status();
    jobs_ = *std::move(jobs);
    auto coordinator = fleet::Coordinator::Create({}, jobs_.get(), &publisher_);
    ASSERT_TRUE(coordinator.ok()) << coordinator.status();
    coordinator_ = *std::move(coordinator);
    coordinator_->Start();
    api::ServiceOptions options;
    options.alive_interval = std::chrono::milliseconds(100);
    service_ = std::make_unique<api::CompressionService>(coordinator_.get(), objects_.get(), options);
    auto server = api::GrpcServer::Start({.listen = "127.0.0.1:0", .reflection = true}, {service_.get()});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials());
    stub_ = v1::CompressionService::NewStub(channel_);
    WriteTinyModel(*objects_, folder_ / "model");
  }

  void TearDown() override {
    if (service_ != nullptr) service_->Stop();
    if (server_ != nullptr) server_->Stop(std::chrono::milliseconds(1000));
    if (coordinator_ != nullptr) coordinator_->Stop();
  }

  v1::CreateCompressionJobRequest Request(const std::string& output = "out") {
    v1::CreateCompressionJobRequest request;
    auto* job = request.mutable_compression_job();
    job->set_model(folder_ / "model");
    job->set_output(folder_ / output);
    *job->mutable_recipe() = recipe::ParseYaml("steps: [{rtn: {group_size: 8}}]").value();
    return request;
  }

  // Creates a job that must be taken.
  v1::CompressionJob Create(const v1::CreateCompressionJobRequest& request) {
    v1::CompressionJob job;
    const grpc::Status status = TryCreate(request, &job);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job;
  }
  grpc::Status TryCreate(const v1::CreateCompressionJobRequest& request, v1::CompressionJob* job) {
    const auto context = Context();
    return stub_->CreateCompressionJob(context.get(), request, job);
  }
  grpc::Status Cancel(const std::string& name, const std::string& etag = "") {
    v1::CancelCompressionJobRequest request;
    request.set_name(name);
    request.set_etag(etag);
    v1::CompressionJob job;
    const auto context = Context();
    return stub_->CancelCompressionJob(context.get(), request, &job);
  }
  grpc::Status Get(const std::string& name, v1::CompressionJob* job) {
    v1::GetCompressionJobRequest request;
    request.set_name(name);
    const auto context = Context();
    return stub_->GetCompressionJob(context.get(), request, job);
  }

  static std::unique_ptr<grpc::ClientContext> Context() {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return context;
  }

  TestFolder folder_;
  NoPublisher publisher_;
  std::unique_ptr<storage::ObjectStore> objects_;
  std::unique_ptr<store::JobStore> jobs_;
  std::unique_ptr<fleet::Coordinator> coordinator_;
  std::unique_ptr<api::CompressionService> service_;
  std::unique_ptr<api::GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::CompressionService::Stub> stub_;
};

// The detail of one kind in a status, as a client finds it.
template <typename T>
T Detail(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  T message;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&message)) return message;
  }
  ADD_FAILURE() << "no " << T::descriptor()->full_name() << " in: " << status.error_message();
  return message;
}

inline std::string Reason(const grpc::Status& status) { return Detail<google::rpc::ErrorInfo>(status).reason(); }

}  // namespace calipress::testing
