// The session's two ends on the wire, against real gRPC.
#include <gtest/gtest.h>

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <thread>

#include "calipress/worker/v1/worker_service.grpc.pb.h"
#include "compress/base/clock.h"
#include "worker/session/channel.h"
#include "worker/session/health.h"

namespace calipress::worker {
namespace {

class Coordinator : public worker::v1::WorkerService::Service {
 public:
  grpc::Status Synchronize(grpc::ServerContext*, const worker::v1::SynchronizeRequest* request,
                           worker::v1::SynchronizeResponse* response) override {
    if (request->worker_id() == "slow") std::this_thread::sleep_for(std::chrono::seconds(2));
    if (request->worker_id() == "bad") return {grpc::StatusCode::INVALID_ARGUMENT, "no such worker"};
    response->mutable_assignment()->set_lease_token("lease of " + request->worker_id());
    return grpc::Status::OK;
  }
};

std::unique_ptr<grpc::Server> Serve(Coordinator* service, const std::string& address, int* port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), port);
  builder.RegisterService(service);
  return builder.BuildAndStart();
}

worker::v1::SynchronizeRequest From(const std::string& worker_id) {
  worker::v1::SynchronizeRequest request;
  request.set_worker_id(worker_id);
  return request;
}

TEST(GrpcChannelTest, CarriesCallsAndErrors) {
  Coordinator service;
  int port = 0;
  auto server = Serve(&service, "127.0.0.1:0", &port);
  ASSERT_NE(server, nullptr);
  auto channel = MakeGrpcChannel("127.0.0.1:" + std::to_string(port));
  const auto response = channel->Synchronize(From("w"), 10);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->assignment().lease_token(), "lease of w");
  EXPECT_EQ(channel->Synchronize(From("bad"), 10).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(channel->Synchronize(From("slow"), 0.2).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(GrpcChannelTest, FindsACoordinatorThatComesBackOnItsPort) {
  Coordinator service;
  int port = 0;
  auto first = Serve(&service, "127.0.0.1:0", &port);
  ASSERT_NE(first, nullptr);
  auto channel = MakeGrpcChannel("127.0.0.1:" + std::to_string(port));
  ASSERT_TRUE(channel->Synchronize(From("w"), 10).ok());
  first->Shutdown();
  first.reset();
  EXPECT_EQ(channel->Synchronize(From("w"), 10).status().code(), absl::StatusCode::kUnavailable);
  auto second = Serve(&service, "127.0.0.1:" + std::to_string(port), &port);
  ASSERT_NE(second, nullptr);
  const Stopwatch watch;
  bool back = false;
  while (!back && watch.Seconds() < 10) {
    back = channel->Synchronize(From("w"), 10).ok();
    if (!back) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_TRUE(back);
}

// An empty HealthCheckRequest asks for the server as a whole; field 1 of the answer is the state, 1 is SERVING.
TEST(HealthServerTest, SaysServing) {
  int port = 0;
  {
    Coordinator unused;
    auto probe = Serve(&unused, "127.0.0.1:0", &port);  // a port that is free a moment later
    ASSERT_NE(probe, nullptr);
    probe->Shutdown();
  }
  const std::string address = "127.0.0.1:" + std::to_string(port);
  auto health = HealthServer::Start(address);
  ASSERT_NE(health, nullptr);
  EXPECT_EQ(HealthServer::Start(address), nullptr) << "a taken port is an error";

  grpc::GenericStub stub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  grpc::Slice empty;
  const grpc::ByteBuffer request(&empty, 1);
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  ASSERT_TRUE(status.ok()) << status.error_message();
  grpc::Slice bytes;
  ASSERT_TRUE(response.DumpToSingleSlice(&bytes).ok());
  ASSERT_EQ(bytes.size(), 2u);
  EXPECT_EQ(bytes.begin()[0], 0x08);
  EXPECT_EQ(bytes.begin()[1], 0x01);
}

}  // namespace
}  // namespace calipress::worker
