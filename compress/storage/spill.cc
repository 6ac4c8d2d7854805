#include "compress/storage/spill.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"

namespace calipress::storage {
namespace {

absl::Status TemporaryFileError(const char* action) {
  const int error = errno;
  return EnvironmentError(error == ENOSPC ? reason::kStorageFull : reason::kStorageUnavailable,
                          absl::StrCat("cannot ", action, " a temporary file: ", std::strerror(error),
                                       "; data that are packed are unpacked there"));
}

absl::Status OutOfRange(int64_t offset, int64_t length, int64_t size) {
  return DefectError(absl::StrCat("a read of ", length, " bytes at ", offset, " of ", size));
}

class MemoryReader : public ObjectReader {
 public:
  explicit MemoryReader(std::string bytes) : bytes_(std::move(bytes)) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  absl::Status ReadAt(int64_t offset, int64_t length, void* data) override {
    if (offset < 0 || length < 0 || offset > size() || length > size() - offset) {
      return OutOfRange(offset, length, size());
    }
    std::copy_n(bytes_.data() + offset, length, static_cast<char*>(data));
    return absl::OkStatus();
  }

 private:
  const std::string bytes_;
};

class FileReader : public ObjectReader {
 public:
  FileReader(FILE* file, int64_t size) : file_(file), size_(size) {}
  ~FileReader() override { std::fclose(file_); }
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;
  int64_t size() const override { return size_; }
  absl::Status ReadAt(int64_t offset, int64_t length, void* data) override {
    if (offset < 0 || length < 0 || offset > size_ || length > size_ - offset) {
      return OutOfRange(offset, length, size_);
    }
    char* to = static_cast<char*>(data);
    while (length > 0) {
      const ssize_t got = pread(fileno(file_), to, static_cast<size_t>(length), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return TemporaryFileError("read");
      to += got;
      offset += got;
      length -= got;
    }
    return absl::OkStatus();
  }

 private:
  FILE* const file_;
  const int64_t size_;
};

}  // namespace

Spill::~Spill() {
  if (file_ != nullptr) std::fclose(file_);
}

absl::Status Spill::Append(std::string_view bytes) {
  size_ += static_cast<int64_t>(bytes.size());
  memory_.append(bytes);
  return static_cast<int64_t>(memory_.size()) > in_memory_ ? Flush() : absl::OkStatus();
}

// Without a name from the start, so that nothing is left behind whatever happens.
absl::Status Spill::OpenFile() {
  std::error_code error;
  std::string path = (std::filesystem::temp_directory_path(error) / "calipress-XXXXXX").string();
  const int descriptor = error ? -1 : mkstemp(path.data());
  if (descriptor < 0) return TemporaryFileError("make");
  unlink(path.c_str());
  file_ = fdopen(descriptor, "w+b");
  if (file_ != nullptr) return absl::OkStatus();
  close(descriptor);
  return TemporaryFileError("make");
}

absl::Status Spill::Flush() {
  if (file_ == nullptr) CALIPRESS_RETURN_IF_ERROR(OpenFile());
  if (std::fwrite(memory_.data(), 1, memory_.size(), file_) != memory_.size()) return TemporaryFileError("write");
  memory_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ObjectReader>> Spill::Finish() {
  if (file_ == nullptr) return std::make_unique<MemoryReader>(std::move(memory_));
  CALIPRESS_RETURN_IF_ERROR(Flush());
  if (std::fflush(file_) != 0) return TemporaryFileError("write");
  return std::make_unique<FileReader>(std::exchange(file_, nullptr), size_);
}

}  // namespace calipress::storage
