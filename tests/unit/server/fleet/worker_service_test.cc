// The worker's RPC, over a real gRPC server in this process.
#include "server/fleet/worker_service_impl.h"

#include <gtest/gtest.h>

#include "google/rpc/status.pb.h"
#include "tests/unit/server/fleet/testing_coordinator.h"

namespace calipress::fleet {
namespace {

class WorkerServiceTest : public CoordinatorTest {
 protected:
  void SetUp() override {
    CoordinatorTest::SetUp();
    service_ = std::make_unique<WorkerServiceImpl>(coordinator.get());
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = worker::v1::WorkerService::NewStub(server_->InProcessChannel({}));
  }

  void TearDown() override { server_->Shutdown(); }

  grpc::Status Call(const worker::v1::SynchronizeRequest& request, worker::v1::SynchronizeResponse* response) {
    grpc::ClientContext context;
    return stub_->Synchronize(&context, request, response);
  }

  std::unique_ptr<WorkerServiceImpl> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<worker::v1::WorkerService::Stub> stub_;
};

TEST_F(WorkerServiceTest, GivesWork) {
  Submit("a", 1);
  FakeWorker worker(coordinator, "w-1");
  worker::v1::SynchronizeResponse response;
  ASSERT_TRUE(Call(worker.request(), &response).ok());
  EXPECT_EQ(response.assignment().job_name(), "compressionJobs/a");
  EXPECT_EQ(response.next_synchronize().seconds(), 1);
}

TEST_F(WorkerServiceTest, ErrorsCarryTheirDetails) {
  worker::v1::SynchronizeResponse response;
  const grpc::Status status = Call({}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(ErrorReason(FromRpcStatus(details)), reason::kInvalidRequest);
}

}  // namespace
}  // namespace calipress::fleet
