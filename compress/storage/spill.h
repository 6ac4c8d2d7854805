#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/storage/object_store.h"

namespace calipress::storage {

// Bytes that are written once from front to back and then read anywhere: in memory while they are few, behind that in a
// file without a name in the temporary folder (TMPDIR). Not thread-safe while it is written.
class Spill {
 public:
  explicit Spill(int64_t in_memory = 64 << 20) : in_memory_(in_memory) {}
  Spill(const Spill&) = delete;
  Spill& operator=(const Spill&) = delete;
  ~Spill();

  int64_t size() const { return size_; }
  // STORAGE_FULL and the like where the temporary folder takes no more.
  absl::Status Append(std::string_view bytes);
  // Ends it; the reader owns the bytes.
  absl::StatusOr<std::unique_ptr<ObjectReader>> Finish();

 private:
  absl::Status OpenFile();
  absl::Status Flush();

  const int64_t in_memory_;
  int64_t size_ = 0;
  std::string memory_;
  FILE* file_ = nullptr;
};

}  // namespace calipress::storage
