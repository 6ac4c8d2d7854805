#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/base/error.h"
#include "compress/base/metrics.h"
#include "compress/storage/metering_store.h"
#include "compress/storage/retrying_store.h"
#include "gtest/gtest.h"

namespace calipress::storage {
namespace {

// Every operation answers `answer()`; objects read as zeros.
class ScriptedStore : public ObjectStore {
 public:
  explicit ScriptedStore(std::function<absl::Status()> answer) : answer_(std::move(answer)) {}

  absl::StatusOr<std::unique_ptr<ObjectReader>> Open(const std::string&) override {
    if (absl::Status status = answer_(); !status.ok()) return status;
    return std::make_unique<Reader>(answer_);
  }
  absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string&) override {
    if (absl::Status status = answer_(); !status.ok()) return status;
    return std::make_unique<Writer>(answer_);
  }
  absl::StatusOr<ObjectInfo> Stat(const std::string& uri) override {
    if (absl::Status status = answer_(); !status.ok()) return status;
    return ObjectInfo{uri, 7, false};
  }
  absl::StatusOr<std::vector<ObjectInfo>> List(const std::string&) override {
    if (absl::Status status = answer_(); !status.ok()) return status;
    return std::vector<ObjectInfo>{};
  }
  absl::Status Move(const std::string&, const std::string&) override { return answer_(); }
  absl::Status Delete(const std::string&) override { return answer_(); }
  absl::Status DeleteFolder(const std::string&) override { return answer_(); }

 private:
  struct Reader : ObjectReader {
    explicit Reader(std::function<absl::Status()> answer) : answer(std::move(answer)) {}
    int64_t size() const override { return 7; }
    absl::Status ReadAt(int64_t, int64_t, void*) override { return answer(); }
    std::function<absl::Status()> answer;
  };
  struct Writer : ObjectWriter {
    explicit Writer(std::function<absl::Status()> answer) : answer(std::move(answer)) {}
    absl::Status Write(const void*, int64_t) override { return answer(); }
    absl::Status Close() override { return answer(); }
    std::function<absl::Status()> answer;
  };
  std::function<absl::Status()> answer_;
};

absl::Status Passing() { return EnvironmentError(reason::kStorageUnavailable, "come back later"); }

double Metric(const std::string& name, const std::map<std::string, std::string>& labels) {
  for (const auto& family : Metrics().Collect()) {
    if (family.name != name) continue;
    for (const auto& metric : family.metric) {
      std::map<std::string, std::string> found;
      for (const auto& label : metric.label) found[label.name] = label.value;
      if (found != labels) continue;
      return family.type == prometheus::MetricType::Histogram ? static_cast<double>(metric.histogram.sample_count)
                                                              : metric.counter.value;
    }
  }
  return 0;
}

class Retrying : public testing::Test {
 protected:
  // Fails `failures` times, then succeeds.
  std::unique_ptr<ObjectStore> Failing(int failures, absl::Status with = Passing()) {
    failures_left_ = failures;
    RetryPolicy policy;
    policy.sleep = [this](double seconds) { slept_.push_back(seconds); };
    return MakeRetryingStore(std::make_unique<ScriptedStore>([this, with] {
                               ++calls_;
                               return failures_left_-- > 0 ? with : absl::OkStatus();
                             }),
                             policy);
  }
  int failures_left_ = 0;
  int calls_ = 0;
  std::vector<double> slept_;
};

TEST_F(Retrying, PassingFailuresAreBorne) {
  const std::map<std::string, std::string> labels = {{"reason", "STORAGE_UNAVAILABLE"}};
  const double before = Metric("calipress_storage_retries_total", labels);
  auto store = Failing(3);
  EXPECT_TRUE(store->Stat("/x").ok());
  EXPECT_EQ(calls_, 4);
  EXPECT_EQ(slept_, (std::vector<double>{0.25, 0.5, 1}));
  EXPECT_EQ(Metric("calipress_storage_retries_total", labels) - before, 3);
}

TEST_F(Retrying, GivesUpAfterTheBound) {
  auto store = Failing(100);
  const absl::Status status = store->List("/x").status();
  EXPECT_EQ(ErrorReason(status), reason::kStorageUnavailable);
  EXPECT_EQ(calls_, 4);
}

TEST_F(Retrying, LastingFailuresAreReportedAtOnce) {
  for (const absl::Status& status :
       {MakeError(absl::StatusCode::kNotFound, reason::kInvalidRequest, ErrorClass::kUser, "gone"),
        MakeError(absl::StatusCode::kResourceExhausted, reason::kStorageFull, ErrorClass::kEnvironment, "full"),
        MakeError(absl::StatusCode::kPermissionDenied, reason::kStoragePermissionDenied, ErrorClass::kUser, "no")}) {
    calls_ = 0;
    EXPECT_EQ(Failing(100, status)->Open("/x").status(), status);
    EXPECT_EQ(calls_, 1);
  }
}

TEST_F(Retrying, ReadsAreRepeatedStreamsAreNot) {
  auto store = Failing(0);
  auto reader = store->Open("/x");
  auto writer = store->Create("/x");
  ASSERT_TRUE(reader.ok() && writer.ok());
  calls_ = 0;
  failures_left_ = 2;
  char byte;
  EXPECT_TRUE((*reader)->ReadAt(0, 1, &byte).ok());
  EXPECT_EQ(calls_, 3);
  calls_ = 0;
  failures_left_ = 1;
  EXPECT_FALSE((*writer)->Write("x", 1).ok());
  EXPECT_EQ(calls_, 1);
  failures_left_ = 1;
  EXPECT_FALSE(store->Move("/x", "/y").ok());
  EXPECT_EQ(calls_, 2);
}

TEST(Metering, CountsOperationsOutcomesBytesAndTime) {
  absl::Status answer = absl::OkStatus();
  auto store = MakeMeteringStore(std::make_unique<ScriptedStore>([&] { return answer; }));
  const auto requests = [](const std::string& operation, const std::string& outcome) {
    return Metric("calipress_storage_requests_total",
                  {{"operation", operation}, {"backend", "gs"}, {"outcome", outcome}});
  };
  auto reader = store->Open("gs://b/x");
  auto writer = store->Create("gs://b/x");
  ASSERT_TRUE(reader.ok() && writer.ok());
  char buffer[5];
  ASSERT_TRUE((*reader)->ReadAt(0, 5, buffer).ok());
  ASSERT_TRUE((*writer)->Write("abc", 3).ok());
  ASSERT_TRUE((*writer)->Close().ok());
  answer = MakeError(absl::StatusCode::kNotFound, reason::kInvalidRequest, ErrorClass::kUser, "gone");
  EXPECT_FALSE(store->Stat("gs://b/x").ok());
  answer = Passing();
  EXPECT_FALSE(store->List("gs://b").ok());
  EXPECT_FALSE((*reader)->ReadAt(0, 5, buffer).ok());
  EXPECT_EQ(requests("open", "ok"), 1);
  EXPECT_EQ(requests("create", "ok"), 1);
  EXPECT_EQ(requests("read", "ok"), 1);
  EXPECT_EQ(requests("read", "unavailable"), 1);
  EXPECT_EQ(requests("write", "ok"), 1);
  EXPECT_EQ(requests("close", "ok"), 1);
  EXPECT_EQ(requests("stat", "not_found"), 1);
  EXPECT_EQ(requests("list", "unavailable"), 1);
  EXPECT_EQ(Metric("calipress_storage_bytes_total", {{"direction", "read"}, {"backend", "gs"}}), 5);
  EXPECT_EQ(Metric("calipress_storage_bytes_total", {{"direction", "write"}, {"backend", "gs"}}), 3);
  EXPECT_EQ(Metric("calipress_storage_request_duration_seconds", {{"operation", "read"}, {"backend", "gs"}}), 2);
}

}  // namespace
}  // namespace calipress::storage
