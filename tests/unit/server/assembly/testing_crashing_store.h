#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compress/base/error.h"
#include "compress/storage/object_store.h"

namespace calipress::testing {

// A store whose process dies: after so many changes nothing works any more.
class CrashingStore : public storage::ObjectStore {
 public:
  CrashingStore(storage::ObjectStore& store, int changes) : store_(store), left_(changes) {}

  bool crashed() const { return crashed_; }

  absl::StatusOr<std::unique_ptr<storage::ObjectReader>> Open(const std::string& uri) override {
    if (crashed_) return Crash();
    return store_.Open(uri);
  }
  absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> Create(const std::string& uri) override {
    if (crashed_) return Crash();
    auto writer = store_.Create(uri);
    if (!writer.ok()) return writer.status();
    return std::make_unique<Writer>(*this, *std::move(writer));
  }
  absl::StatusOr<storage::ObjectInfo> Stat(const std::string& uri) override {
    if (crashed_) return Crash();
    return store_.Stat(uri);
  }
  absl::StatusOr<std::vector<storage::ObjectInfo>> List(const std::string& folder_uri) override {
    if (crashed_) return Crash();
    return store_.List(folder_uri);
  }
  absl::Status Move(const std::string& from, const std::string& to) override {
    return Change() ? store_.Move(from, to) : Crash();
  }
  absl::Status Delete(const std::string& uri) override { return Change() ? store_.Delete(uri) : Crash(); }
  absl::Status DeleteFolder(const std::string& uri) override { return Change() ? store_.DeleteFolder(uri) : Crash(); }

 private:
  class Writer : public storage::ObjectWriter {
   public:
    Writer(CrashingStore& store, std::unique_ptr<storage::ObjectWriter> writer)
        : store_(store), writer_(std::move(writer)) {}
    absl::Status Write(const void* data, int64_t length) override { return writer_->Write(data, length); }
    absl::Status Close() override { return store_.Change() ? writer_->Close() : Crash(); }

   private:
    CrashingStore& store_;
    std::unique_ptr<storage::ObjectWriter> writer_;
  };

  bool Change() {
    if (left_-- > 0) return true;
    crashed_ = true;
    return false;
  }
  static absl::Status Crash() { return EnvironmentError(reason::kStorageUnavailable, "the process died here"); }

  storage::ObjectStore& store_;
  int left_;
  bool crashed_ = false;
};

}  // namespace calipress::testing
