#include "server/api/compression_service.h"

#include <google/protobuf/util/message_differencer.h>

#include <set>

#include "compress/base/metrics.h"
#include "tests/unit/server/api/testing_server.h"

namespace calipress::api {
namespace {

using testing::Detail;
using testing::Reason;
using ServiceTest = testing::ApiTest;

constexpr char kRequestId[] = "01234567-89ab-cdef-0123-456789abcdef";

TEST_F(ServiceTest, CreatesAJobAndGivesItBack) {
  auto request = Request();
  request.set_compression_job_id("my-job");
  request.mutable_compression_job()->set_display_name("Mine");
  const v1::CompressionJob created = Create(request);
  EXPECT_EQ(created.name(), "compressionJobs/my-job");
  EXPECT_EQ(created.state(), v1::CompressionJob::QUEUED);
  EXPECT_FALSE(created.uid().empty());
  EXPECT_FALSE(created.etag().empty());
  EXPECT_EQ(created.recipe().steps(0).rtn().bits(), 4) << "defaults are filled in";
  EXPECT_GT(created.estimate().worker_memory_bytes(), 0);
  v1::CompressionJob got;
  ASSERT_TRUE(Get("compressionJobs/my-job", &got).ok());
  EXPECT_EQ(got.uid(), created.uid());
  EXPECT_EQ(got.display_name(), "Mine");

  request.mutable_compression_job()->set_output(folder_ / "out-2");
  const grpc::Status again = TryCreate(request, &got);
  EXPECT_EQ(again.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Reason(again), "JOB_EXISTS");
}

TEST_F(ServiceTest, ReportsEveryViolationInBadRequest) {
  auto request = Request();
  request.mutable_compression_job()->set_model("");
  request.mutable_compression_job()->mutable_recipe()->mutable_steps(0)->mutable_rtn()->set_bits(5);
  request.set_request_id("x");
  v1::CompressionJob job;
  const grpc::Status status = TryCreate(request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "INVALID_REQUEST");
  EXPECT_EQ(Detail<google::rpc::ErrorInfo>(status).domain(), "calipress.dev");
  std::set<std::string> fields;
  const auto bad_request = Detail<google::rpc::BadRequest>(status);
  for (const auto& violation : bad_request.field_violations()) {
    EXPECT_FALSE(violation.description().empty());
    fields.insert(violation.field());
  }
  EXPECT_EQ(fields, (std::set<std::string>{"model", "recipe.steps[0].rtn.bits", "request_id"}));
}

TEST_F(ServiceTest, RefusalsOfAdmissionCarryTheirReason) {
  auto request = Request();
  request.mutable_compression_job()->set_model(folder_ / "nowhere");
  v1::CompressionJob job;
  const grpc::Status status = TryCreate(request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Reason(status), "SOURCE_MODEL_NOT_FOUND");
}

TEST_F(ServiceTest, AHugeRefusalStillArrives) {
  auto request = Request();
  for (int i = 0; i < 64; ++i) {
    (*request.mutable_compression_job()->mutable_labels())[std::string(60, 'a' + i % 26) + std::to_string(i)] =
        std::string(2000, 'x');
  }
  v1::CompressionJob job;
  const grpc::Status status = TryCreate(request, &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  EXPECT_GT(Detail<google::rpc::BadRequest>(status).field_violations_size(), 5);
}

TEST_F(ServiceTest, ValidateOnlyStoresNothing) {
  auto request = Request();
  request.set_validate_only(true);
  request.set_compression_job_id("my-job");
  const v1::CompressionJob job = Create(request);
  EXPECT_EQ(job.recipe().steps(0).rtn().bits(), 4);
  EXPECT_GT(job.estimate().parameters(), 0);
  EXPECT_TRUE(job.uid().empty());
  v1::CompressionJob got;
  EXPECT_EQ(Reason(Get("compressionJobs/my-job", &got)), "JOB_NOT_FOUND");
}

TEST_F(ServiceTest, ARequestIdMakesOneJob) {
  auto request = Request();
  request.set_request_id(kRequestId);
  const v1::CompressionJob first = Create(request);
  // By now the first one may have filled its output.
  testing::WriteFile(folder_ / "out/config.json", "{}");
  EXPECT_EQ(Create(request).uid(), first.uid());
  request.mutable_compression_job()->set_display_name("another body");
  v1::CompressionJob job;
  const grpc::Status reused = TryCreate(request, &job);
  EXPECT_EQ(reused.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Reason(reused), "REQUEST_ID_REUSED");
}

TEST_F(ServiceTest, TwoJobsDoNotShareAnOutput) {
  Create(Request());
  v1::CompressionJob job;
  EXPECT_EQ(Reason(TryCreate(Request(), &job)), "OUTPUT_EXISTS");
}

TEST_F(ServiceTest, ListsInPagesNewestFirst) {
  std::vector<std::string> names;
  for (int i = 0; i < 5; ++i) names.push_back(Create(Request("out" + std::to_string(i))).name());
  ASSERT_TRUE(Cancel(names[2]).ok());
  v1::ListCompressionJobsRequest request;
  request.set_page_size(2);
  std::vector<std::string> listed;
  int pages = 0;
  do {
    v1::ListCompressionJobsResponse response;
    const grpc::Status status = stub_->ListCompressionJobs(Context().get(), request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    for (const auto& job : response.compression_jobs()) listed.push_back(job.name());
    request.set_page_token(response.next_page_token());
  } while (++pages < 10 && !request.page_token().empty());
  EXPECT_EQ(pages, 3);
  std::reverse(names.begin(), names.end());
  EXPECT_EQ(listed, names);

  request.Clear();
  request.add_states(v1::CompressionJob::CANCELLED);
  v1::ListCompressionJobsResponse response;
  ASSERT_TRUE(stub_->ListCompressionJobs(Context().get(), request, &response).ok());
  ASSERT_EQ(response.compression_jobs_size(), 1);
  EXPECT_EQ(response.compression_jobs(0).name(), names[2]);

  request.set_page_size(-1);
  const grpc::Status negative = stub_->ListCompressionJobs(Context().get(), request, &response);
  EXPECT_EQ(Detail<google::rpc::BadRequest>(negative).field_violations(0).field(), "page_size");
  request.set_page_size(0);
  request.set_page_token("made up");
  const grpc::Status token = stub_->ListCompressionJobs(Context().get(), request, &response);
  EXPECT_EQ(Detail<google::rpc::BadRequest>(token).field_violations(0).field(), "page_token");
}

TEST_F(ServiceTest, CancelHeedsTheEtagAndDeleteTheEnd) {
  const v1::CompressionJob job = Create(Request());
  v1::DeleteCompressionJobRequest request;
  request.set_name(job.name());
  google::protobuf::Empty empty;
  EXPECT_EQ(Reason(stub_->DeleteCompressionJob(Context().get(), request, &empty)), "JOB_NOT_TERMINAL");
  EXPECT_EQ(Cancel(job.name(), "an older one").error_code(), grpc::StatusCode::ABORTED);
  EXPECT_TRUE(Cancel(job.name(), job.etag()).ok());
  EXPECT_TRUE(Cancel(job.name()).ok()) << "a job that has ended stays as it is";
  EXPECT_TRUE(stub_->DeleteCompressionJob(Context().get(), request, &empty).ok());
  v1::CompressionJob got;
  EXPECT_EQ(Reason(Get(job.name(), &got)), "JOB_NOT_FOUND");
  EXPECT_EQ(Get("jobs/x", &got).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, SaysWhatItCan) {
  v1::ServerInfo info;
  ASSERT_TRUE(stub_->GetServerInfo(Context().get(), {}, &info).ok());
  EXPECT_EQ(std::vector<std::string>(info.methods().begin(), info.methods().end()),
            (std::vector<std::string>{"rtn", "gptq", "awq", "smoothquant", "spqr", "magnitude", "wanda", "sparsegpt",
                                      "dsnot"}));
  EXPECT_EQ(std::vector<std::string>(info.formats().begin(), info.formats().end()),
            (std::vector<std::string>{"compressed-tensors", "gptq", "awq", "spqr", "dense"}));
  EXPECT_GE(info.model_families_size(), 4);
  EXPECT_EQ(info.storage_schemes_size(), 4);
  EXPECT_FALSE(info.version().empty());
}

TEST_F(ServiceTest, ListsWorkers) {
  worker::v1::SynchronizeRequest request;
  request.set_worker_id("w-1");
  request.set_session_id("s");
  request.mutable_capabilities()->set_device("cpu");
  request.mutable_capabilities()->set_threads(2);
  request.mutable_capabilities()->set_memory_bytes(1 << 30);
  request.mutable_capabilities()->set_rendezvous("127.0.0.1:1");
  ASSERT_TRUE(coordinator_->Synchronize(request).ok());
  v1::ListWorkersResponse response;
  ASSERT_TRUE(stub_->ListWorkers(Context().get(), {}, &response).ok());
  ASSERT_EQ(response.workers_size(), 1);
  EXPECT_EQ(response.workers(0).id(), "w-1");
  EXPECT_EQ(response.workers(0).state(), v1::WorkerInfo::IDLE);
}

TEST_F(ServiceTest, RefusesMessagesBeyondItsLimit) {
  auto request = Request();
  request.mutable_compression_job()->set_display_name(std::string(33 << 20, 'x'));
  v1::CompressionJob job;
  EXPECT_EQ(TryCreate(request, &job).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ServiceTest, CountsItsCalls) {
  const auto count = [](const std::string& method, const std::string& code) {
    for (const auto& family : Metrics().Collect()) {
      if (family.name != "calipress_grpc_requests_total") continue;
      for (const auto& metric : family.metric) {
        std::map<std::string, std::string> labels;
        for (const auto& label : metric.label) labels[label.name] = label.value;
        if (labels["method"] == method && labels["code"] == code &&
            labels["service"] == "calipress.v1.CompressionService") {
          return metric.counter.value;
        }
      }
    }
    return 0.0;
  };
  const double before = count("GetCompressionJob", "NOT_FOUND");
  v1::CompressionJob job;
  EXPECT_EQ(Get("compressionJobs/absent", &job).error_code(), grpc::StatusCode::NOT_FOUND);
  // The call is over for the client a moment before it is for the server.
  for (int i = 0; i < 200 && count("GetCompressionJob", "NOT_FOUND") == before; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(count("GetCompressionJob", "NOT_FOUND"), before + 1);
}

TEST_F(ServiceTest, AStoppingServiceTakesNoNewJobs) {
  service_->Stop();
  v1::CompressionJob job;
  const grpc::Status status = TryCreate(Request(), &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Reason(status), "DRAINING");
}

}  // namespace
}  // namespace calipress::api
