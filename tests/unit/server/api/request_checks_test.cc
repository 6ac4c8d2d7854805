#include "server/api/request_checks.h"

#include <set>

#include "compress/base/error.h"
#include "compress/recipe/recipe.h"
#include "gtest/gtest.h"

namespace calipress::api {
namespace {

v1::CreateCompressionJobRequest Good() {
  v1::CreateCompressionJobRequest request;
  auto* job = request.mutable_compression_job();
  job->set_model("/models/a");
  job->set_output("/models/b");
  *job->mutable_recipe() = recipe::ParseYaml("steps: [{rtn: {bits: 4, group_size: 8}}]").value();
  return request;
}

std::set<std::string> Fields(const absl::Status& status) {
  std::set<std::string> fields;
  for (const FieldViolation& violation : Violations(status)) fields.insert(violation.field);
  return fields;
}

TEST(CheckCreate, LetsAGoodRequestThrough) {
  v1::CreateCompressionJobRequest request = Good();
  EXPECT_TRUE(CheckCreate(request).ok()) << CheckCreate(request);
  request.set_compression_job_id("a-1");
  request.set_request_id("01234567-89ab-cdef-0123-456789ABCDEF");
  (*request.mutable_compression_job()->mutable_labels())["team"] = "x";
  request.mutable_compression_job()->set_output("s3://bucket/out?endpoint_override=localhost:9000&scheme=http");
  request.mutable_compression_job()->mutable_placement()->set_device("cuda");
  EXPECT_TRUE(CheckCreate(request).ok()) << CheckCreate(request);
}

// A shard is moved by one copy on the server's side, which S3 does up to 5 GiB.
TEST(CheckCreate, ShardsOnS3HaveABound) {
  v1::CreateCompressionJobRequest request = Good();
  auto* job = request.mutable_compression_job();
  job->mutable_recipe()->mutable_output()->set_max_shard_bytes(5'000'000'001);
  EXPECT_TRUE(CheckCreate(request).ok()) << CheckCreate(request);
  job->set_output("gs://bucket/out");
  EXPECT_TRUE(CheckCreate(request).ok()) << CheckCreate(request);
  job->set_output("s3://bucket/out");
  EXPECT_EQ(Fields(CheckCreate(request)), (std::set<std::string>{"recipe.output.max_shard_bytes"}));
  EXPECT_NE(CheckCreate(request).message().find("5000000001"), std::string::npos) << CheckCreate(request);
  job->mutable_recipe()->mutable_output()->set_max_shard_bytes(5'000'000'000);
  EXPECT_TRUE(CheckCreate(request).ok()) << CheckCreate(request);
}

TEST(CheckCreate, NamesEverythingThatIsWrongAtOnce) {
  v1::CreateCompressionJobRequest request = Good();
  request.set_compression_job_id("-A");
  request.set_request_id("17");
  auto* job = request.mutable_compression_job();
  job->set_display_name("two\nlines");
  (*job->mutable_labels())["key"] = std::string(300, 'x');
  job->set_model("");
  job->set_output("ftp://host/x");
  job->mutable_placement()->set_workers(-1);
  job->mutable_placement()->set_device("tpu");
  job->mutable_recipe()->mutable_steps(0)->mutable_rtn()->set_bits(5);
  auto* text = job->mutable_recipe()->mutable_evaluation()->add_perplexity();
  text->set_name("a");
  text->set_uri("relative.txt");
  const absl::Status status = CheckCreate(request);
  EXPECT_EQ(ErrorReason(status), reason::kInvalidRequest);
  EXPECT_EQ(Fields(status), (std::set<std::string>{"compression_job_id", "request_id", "display_name", "labels[key]",
                                                   "model", "output", "placement.workers", "placement.device",
                                                   "recipe.steps[0].rtn.bits", "recipe.evaluation.perplexity[0].uri"}))
      << status;
}

TEST(CheckCreate, TellsAWrongRecipeFromAWrongRequest) {
  v1::CreateCompressionJobRequest request = Good();
  request.mutable_compression_job()->mutable_recipe()->mutable_steps(0)->mutable_rtn()->set_bits(5);
  EXPECT_EQ(ErrorReason(CheckCreate(request)), reason::kInvalidRecipe);
  request = Good();
  request.mutable_compression_job()->clear_recipe();
  EXPECT_EQ(Fields(CheckCreate(request)), std::set<std::string>{"recipe"});
  request.clear_compression_job();
  EXPECT_EQ(Fields(CheckCreate(request)), std::set<std::string>{"compression_job"});
}

TEST(CheckCreate, RefusesCredentialsAndNeverRepeatsThem) {
  for (const char* uri : {"s3://AKIA:s3cr3t@bucket/model", "s3://bucket/model?secret_key=s3cr3t",
                          "gs://bucket/m?token=s3cr3t", "abfs://account:s3cr3t@container/x"}) {
    v1::CreateCompressionJobRequest request = Good();
    request.mutable_compression_job()->set_model(uri);
    const absl::Status status = CheckCreate(request);
    EXPECT_EQ(Fields(status), std::set<std::string>{"model"}) << uri;
    EXPECT_EQ(std::string(status.message()).find("s3cr3t"), std::string::npos) << status;
  }
  v1::CreateCompressionJobRequest request = Good();
  request.mutable_compression_job()->set_model("abfs://container@account.dfs.core.windows.net/model");
  EXPECT_TRUE(CheckCreate(request).ok()) << CheckCreate(request);
}

TEST(CheckCreate, BoundsWhatItTakes) {
  v1::CreateCompressionJobRequest request = Good();
  request.mutable_compression_job()->set_model("/" + std::string(5000, 'x'));
  EXPECT_EQ(Fields(CheckCreate(request)), std::set<std::string>{"model"});
  request = Good();
  request.mutable_compression_job()->mutable_recipe()->mutable_steps(0)->add_targets(std::string(300 << 10, 'x'));
  const absl::Status status = CheckCreate(request);
  EXPECT_EQ(Fields(status), std::set<std::string>{"recipe"});
  EXPECT_LT(status.message().size(), 1000u);
}

TEST(CheckCreate, JobIdsAreThoseOfTheContract) {
  const auto taken = [](const std::string& id) {
    v1::CreateCompressionJobRequest request = Good();
    request.set_compression_job_id(id);
    return CheckCreate(request).ok();
  };
  EXPECT_TRUE(taken("ab"));
  EXPECT_TRUE(taken("a" + std::string(61, '-') + "9"));
  EXPECT_FALSE(taken("a" + std::string(62, 'b') + "9"));
  for (const char* id : {"a", "1a", "aB", "a-", "a_b", "a/b", "\xC3\xA9t"}) EXPECT_FALSE(taken(id)) << id;
}

TEST(OtherChecks, NameTheirFields) {
  EXPECT_TRUE(CheckName("compressionJobs/ab").ok());
  for (const char* name : {"", "ab", "compressionJobs/", "compressionJobs/A!", "compressionJobs/ab/x"}) {
    EXPECT_EQ(Fields(CheckName(name)), std::set<std::string>{"name"}) << name;
  }
  v1::ListCompressionJobsRequest list;
  EXPECT_TRUE(CheckList(list).ok());
  list.set_page_size(-1);
  list.set_page_token(std::string(2000, 'x'));
  list.add_states(v1::CompressionJob::RUNNING);
  list.add_states(v1::CompressionJob::STATE_UNSPECIFIED);
  EXPECT_EQ(Fields(CheckList(list)), (std::set<std::string>{"page_size", "page_token", "states[1]"}));
  v1::WatchCompressionJobRequest watch;
  watch.set_after_sequence(-1);
  EXPECT_EQ(Fields(CheckWatch(watch)), (std::set<std::string>{"name", "after_sequence"}));
}

TEST(RequestDigest, IsOfTheBodyAlone) {
  v1::CreateCompressionJobRequest a = Good(), b = Good();
  for (const char* key : {"x", "y", "z"}) (*a.mutable_compression_job()->mutable_labels())[key] = key;
  for (const char* key : {"z", "x", "y"}) (*b.mutable_compression_job()->mutable_labels())[key] = key;
  b.set_request_id("01234567-89ab-cdef-0123-456789abcdef");
  EXPECT_EQ(RequestDigest(a), RequestDigest(b));
  b.mutable_compression_job()->set_model("/models/c");
  EXPECT_NE(RequestDigest(a), RequestDigest(b));
}

}  // namespace
}  // namespace calipress::api
