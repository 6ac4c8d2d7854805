#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace calipress::cli {

// The job database of `calipress run`: OUTPUT/_calipress/jobs.db, so that a run that was cut off goes on when it is
// started again; in memory where the output lies in an object store. Locked against a second run.
class OutputDatabase {
 public:
  // OUTPUT_EXISTS where another run holds it or OUTPUT is a file; STORAGE_* where the folder cannot be made.
  static absl::StatusOr<OutputDatabase> Open(const std::string& output_uri);

  // Without a file.
  static OutputDatabase InMemory() { return OutputDatabase(); }

  OutputDatabase(OutputDatabase&& other) noexcept;
  OutputDatabase& operator=(OutputDatabase&&) = delete;
  ~OutputDatabase();  // unlocks; the file stays

  // A path, or ":memory:".
  std::string path() const;

  // Deletes the file, and every folder made by Open that is empty now. After the coordinator has stopped.
  void Remove();

 private:
  OutputDatabase() = default;

  std::filesystem::path folder_;             // "": in memory
  std::vector<std::filesystem::path> made_;  // innermost last
  int lock_ = -1;
};

}  // namespace calipress::cli
