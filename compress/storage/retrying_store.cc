#include "compress/storage/retrying_store.h"

#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/storage/retry_count.h"

namespace calipress::storage {
namespace {

const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

template <typename Operation>
auto Repeat(const RetryPolicy& policy, Operation operation) {
  const Stopwatch watch;
  double delay = policy.first_delay_seconds;
  for (int attempt = 1;; ++attempt, delay *= 2) {
    auto result = operation();
    const absl::Status& status = StatusOf(result);
    if (status.ok() || attempt >= policy.attempts) return result;
    const std::string why = ErrorReason(status);
    if (why != reason::kStorageUnavailable || watch.Seconds() + delay > policy.budget_seconds) return result;
    CountRetry(why);
    policy.sleep(delay);
  }
}

class RetryingReader : public ObjectReader {
 public:
  RetryingReader(std::unique_ptr<ObjectReader> reader, const RetryPolicy& policy)
      : reader_(std::move(reader)), policy_(policy) {}
  int64_t size() const override { return reader_->size(); }
  absl::Status ReadAt(int64_t offset, int64_t length, void* data) override {
    return Repeat(policy_, [&] { return reader_->ReadAt(offset, length, data); });
  }

 private:
  std::unique_ptr<ObjectReader> reader_;
  RetryPolicy policy_;
};

class RetryingStore : public ObjectStore {
 public:
  RetryingStore(std::unique_ptr<ObjectStore> store, RetryPolicy policy)
      : store_(std::move(store)), policy_(std::move(policy)) {}

  absl::StatusOr<std::unique_ptr<ObjectReader>> Open(const std::string& uri) override {
    auto reader = Repeat(policy_, [&] { return store_->Open(uri); });
    if (!reader.ok()) return reader;
    return std::make_unique<RetryingReader>(std::move(*reader), policy_);
  }
  absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string& uri) override {
    return Repeat(policy_, [&] { return store_->Create(uri); });
  }
  absl::StatusOr<ObjectInfo> Stat(const std::string& uri) override {
    return Repeat(policy_, [&] { return store_->Stat(uri); });
  }
  absl::StatusOr<std::vector<ObjectInfo>> List(const std::string& folder_uri) override {
    return Repeat(policy_, [&] { return store_->List(folder_uri); });
  }
  absl::Status Move(const std::string& from, const std::string& to) override { return store_->Move(from, to); }
  absl::Status Delete(const std::string& uri) override { return store_->Delete(uri); }
  absl::Status DeleteFolder(const std::string& folder_uri) override {
    return Repeat(policy_, [&] { return store_->DeleteFolder(folder_uri); });
  }

 private:
  std::unique_ptr<ObjectStore> store_;
  RetryPolicy policy_;
};

}  // namespace

std::unique_ptr<ObjectStore> MakeRetryingStore(std::unique_ptr<ObjectStore> store, RetryPolicy policy) {
  if (!policy.sleep) {
    policy.sleep = [](double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); };
  }
  return std::make_unique<RetryingStore>(std::move(store), std::move(policy));
}

}  // namespace calipress::storage
