#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "arrow/buffer.h"
#include "arrow/io/interfaces.h"
#include "arrow/result.h"
#include "compress/storage/object_store.h"

namespace calipress::storage {

// An object for Arrow's readers. Private to this folder. The reader outlives it.
class ArrowInput : public arrow::io::RandomAccessFile {
 public:
  explicit ArrowInput(ObjectReader& reader) : reader_(reader) {}

  // The first failure of the storage, with its reason; Arrow's own status has the text alone.
  const absl::Status& status() const { return status_; }

  arrow::Status Close() override {
    closed_ = true;
    return arrow::Status::OK();
  }
  bool closed() const override { return closed_; }
  arrow::Result<int64_t> Tell() const override { return position_; }
  arrow::Status Seek(int64_t position) override {
    position_ = position;
    return arrow::Status::OK();
  }
  arrow::Result<int64_t> GetSize() override { return reader_.size(); }

  arrow::Result<int64_t> ReadAt(int64_t position, int64_t bytes, void* out) override {
    if (position < 0 || bytes < 0) return arrow::Status::Invalid("a read before the file's start");
    bytes = std::min(bytes, std::max<int64_t>(0, reader_.size() - position));
    const absl::Status status = reader_.ReadAt(position, bytes, out);
    if (status.ok()) return bytes;
    if (status_.ok()) status_ = status;
    return arrow::Status::IOError("storage");
  }

  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAt(int64_t position, int64_t bytes) override {
    if (position < 0 || bytes < 0) return arrow::Status::Invalid("a read before the file's start");
    // What a damaged file asks for is not given out before there is so much to read.
    bytes = std::min(bytes, std::max<int64_t>(0, reader_.size() - position));
    ARROW_ASSIGN_OR_RAISE(auto buffer, arrow::AllocateResizableBuffer(bytes));
    ARROW_ASSIGN_OR_RAISE(const int64_t got, ReadAt(position, bytes, buffer->mutable_data()));
    ARROW_RETURN_NOT_OK(buffer->Resize(got));
    return std::shared_ptr<arrow::Buffer>(std::move(buffer));
  }

  arrow::Result<int64_t> Read(int64_t bytes, void* out) override {
    ARROW_ASSIGN_OR_RAISE(const int64_t got, ReadAt(position_, bytes, out));
    position_ += got;
    return got;
  }

  arrow::Result<std::shared_ptr<arrow::Buffer>> Read(int64_t bytes) override {
    ARROW_ASSIGN_OR_RAISE(auto buffer, ReadAt(position_, bytes));
    position_ += buffer->size();
    return buffer;
  }

 private:
  ObjectReader& reader_;
  int64_t position_ = 0;
  bool closed_ = false;
  absl::Status status_;
};

}  // namespace calipress::storage
