#include "server/api/grpc_server.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>

#include "compress/base/error.h"
#include "tests/unit/server/api/testing_server.h"

namespace calipress::api {
namespace {

class GrpcServerTest : public testing::ApiTest {
 protected:
  // grpc.health.v1.Health/Check by hand: its messages are one string (1) and one enum (1).
  std::string Check(const std::string& service) {
    grpc::GenericStub stub(channel_);
    std::string request;
    if (!service.empty()) request = std::string("\x0A") + static_cast<char>(service.size()) + service;
    const grpc::Slice slice(request);
    const grpc::ByteBuffer buffer(&slice, 1);
    const auto context = Context();
    grpc::CompletionQueue queue;
    auto call = stub.PrepareUnaryCall(context.get(), "/grpc.health.v1.Health/Check", buffer, &queue);
    call->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    call->Finish(&answer, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    if (!status.ok()) return status.error_code() == grpc::StatusCode::NOT_FOUND ? "unknown" : status.error_message();
    std::vector<grpc::Slice> slices;
    if (!answer.Dump(&slices).ok()) return "unreadable";
    std::string bytes;
    for (const auto& part : slices) bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
    if (bytes == std::string("\x08\x01")) return "SERVING";
    return bytes == std::string("\x08\x02") ? "NOT_SERVING" : "UNKNOWN";
  }
};

TEST_F(GrpcServerTest, TellsItsHealthOverallAndByService) {
  EXPECT_EQ(Check(""), "SERVING");
  EXPECT_EQ(Check("calipress.v1.CompressionService"), "SERVING");
  EXPECT_EQ(Check("calipress.worker.v1.WorkerService"), "SERVING");
  EXPECT_EQ(Check("calipress.v1.Nothing"), "unknown");
}

// Without a descriptor, tools that ask by reflection find the service listed and cannot call it.
TEST_F(GrpcServerTest, ReflectionCanDescribeEveryService) {
  for (const char* service :
       {"grpc.health.v1.Health", "calipress.v1.CompressionService", "calipress.worker.v1.WorkerService"}) {
    EXPECT_NE(google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service), nullptr) << service;
  }
}

TEST_F(GrpcServerTest, DoesNotShareAPort) {
  const std::string taken = "127.0.0.1:" + std::to_string(server_->port());
  const auto second = GrpcServer::Start({.listen = taken, .reflection = true}, {});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find(taken), absl::string_view::npos);
  EXPECT_EQ(ErrorClassOf(second.status()), ErrorClass::kEnvironment);
}

}  // namespace
}  // namespace calipress::api
