#include "compress/storage/metering_store.h"

#include <string>
#include <utility>

#include "compress/base/clock.h"
#include "compress/base/metrics.h"

namespace calipress::storage {
namespace {

std::string OutcomeName(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return "ok";
    case absl::StatusCode::kNotFound:
      return "not_found";
    case absl::StatusCode::kPermissionDenied:
      return "denied";
    case absl::StatusCode::kResourceExhausted:
      return "full";
    case absl::StatusCode::kUnavailable:
      return "unavailable";
    default:
      return "failed";
  }
}

// "none" for a URI that no backend takes, so that the label stays in a closed set.
std::string BackendName(const std::string& uri) {
  const std::string scheme = UriScheme(uri);
  return scheme.empty() ? "none" : scheme;
}

void Count(const std::string& operation, const std::string& backend, const absl::Status& status, double seconds) {
  static auto& requests = CounterFamily("calipress_storage_requests_total", "Storage operations by their outcome.");
  static auto& durations =
      HistogramFamily("calipress_storage_request_duration_seconds", "Time of storage operations, retries included.");
  requests.Add({{"operation", operation}, {"backend", backend}, {"outcome", OutcomeName(status)}}).Increment();
  durations.Add({{"operation", operation}, {"backend", backend}}, RpcBuckets()).Observe(seconds);
}

prometheus::Counter& Bytes(const std::string& direction, const std::string& backend) {
  static auto& family = CounterFamily("calipress_storage_bytes_total", "Bytes read from and written to storage.");
  return family.Add({{"direction", direction}, {"backend", backend}});
}

const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

template <typename Operation>
auto Metered(const char* name, const std::string& backend, Operation operation) {
  const Stopwatch watch;
  auto result = operation();
  Count(name, backend, StatusOf(result), watch.Seconds());
  return result;
}

class MeteringReader : public ObjectReader {
 public:
  MeteringReader(std::unique_ptr<ObjectReader> reader, std::string backend)
      : reader_(std::move(reader)), backend_(std::move(backend)), bytes_(Bytes("read", backend_)) {}
  int64_t size() const override { return reader_->size(); }
  absl::Status ReadAt(int64_t offset, int64_t length, void* data) override {
    absl::Status status = Metered("read", backend_, [&] { return reader_->ReadAt(offset, length, data); });
    if (status.ok()) bytes_.Increment(static_cast<double>(length));
    return status;
  }

 private:
  std::unique_ptr<ObjectReader> reader_;
  std::string backend_;
  prometheus::Counter& bytes_;
};

class MeteringWriter : public ObjectWriter {
 public:
  MeteringWriter(std::unique_ptr<ObjectWriter> writer, std::string backend)
      : writer_(std::move(writer)), backend_(std::move(backend)), bytes_(Bytes("write", backend_)) {}
  absl::Status Write(const void* data, int64_t length) override {
    absl::Status status = Metered("write", backend_, [&] { return writer_->Write(data, length); });
    if (status.ok()) bytes_.Increment(static_cast<double>(length));
    return status;
  }
  absl::Status Close() override {
    return Metered("close", backend_, [&] { return writer_->Close(); });
  }

 private:
  std::unique_ptr<ObjectWriter> writer_;
  std::string backend_;
  prometheus::Counter& bytes_;
};

class MeteringStore : public ObjectStore {
 public:
  explicit MeteringStore(std::unique_ptr<ObjectStore> store) : store_(std::move(store)) {}

  absl::StatusOr<std::unique_ptr<ObjectReader>> Open(const std::string& uri) override {
    const std::string backend = BackendName(uri);
    auto reader = Metered("open", backend, [&] { return store_->Open(uri); });
    if (!reader.ok()) return reader;
    return std::make_unique<MeteringReader>(std::move(*reader), backend);
  }
  absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string& uri) override {
    const std::string backend = BackendName(uri);
    auto writer = Metered("create", backend, [&] { return store_->Create(uri); });
    if (!writer.ok()) return writer;
    return std::make_unique<MeteringWriter>(std::move(*writer), backend);
  }
  absl::StatusOr<ObjectInfo> Stat(const std::string& uri) override {
    return Metered("stat", BackendName(uri), [&] { return store_->Stat(uri); });
  }
  absl::StatusOr<std::vector<ObjectInfo>> List(const std::string& folder_uri) override {
    return Metered("list", BackendName(folder_uri), [&] { return store_->List(folder_uri); });
  }
  absl::Status Move(const std::string& from, const std::string& to) override {
    return Metered("move", BackendName(from), [&] { return store_->Move(from, to); });
  }
  absl::Status Delete(const std::string& uri) override {
    return Metered("delete", BackendName(uri), [&] { return store_->Delete(uri); });
  }
  absl::Status DeleteFolder(const std::string& folder_uri) override {
    return Metered("delete_folder", BackendName(folder_uri), [&] { return store_->DeleteFolder(folder_uri); });
  }

 private:
  std::unique_ptr<ObjectStore> store_;
};

}  // namespace

std::unique_ptr<ObjectStore> MakeMeteringStore(std::unique_ptr<ObjectStore> store) {
  return std::make_unique<MeteringStore>(std::move(store));
}

}  // namespace calipress::storage
