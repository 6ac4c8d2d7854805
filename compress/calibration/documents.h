#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/storage/object_store.h"

namespace calipress::calibration {

// What the field of a .jsonl row holds: a text, or a list of messages ({role, content}), which is given back as JSON.
enum class RowKind { kText, kMessages };

// What becomes of rows whose text is empty: to calibrate with they are nothing, in a text that is measured they stand
// between two joints. Lines of a .jsonl with nothing on them are no rows.
enum class EmptyRows { kLeftOut, kKept };

// The documents of a text file: the rows of a .jsonl (also packed) or of a .parquet, or the paragraphs of a .txt, which
// blank lines separate (a file without blank lines is one document).
//
// Open reads the file once, in pieces, checks every line and keeps where the documents lie: 16 bytes for each, and the
// file itself where it is small. Large files are read again document by document; what was packed lies unpacked in
// memory or a temporary file until then. Not thread-safe.
class Documents {
 public:
  // INVALID_CALIBRATION_DATA names the file, and the line where there is one: a missing file, another ending, UTF-8 or
  // JSON that is not valid, bytes that do not unpack, rows without the field, a document above 64 MiB, no text at all.
  // `field` is for rows.
  static absl::StatusOr<std::unique_ptr<Documents>> Open(storage::ObjectStore& store, const std::string& uri,
                                                         const std::string& field, RowKind kind = RowKind::kText,
                                                         EmptyRows empty_rows = EmptyRows::kLeftOut);

  int64_t size() const { return static_cast<int64_t>(extents_.size()); }
  absl::StatusOr<std::string> Read(int64_t index) const;
  // For messages: without credentials.
  const std::string& name() const { return name_; }

 private:
  struct Extent {
    int64_t offset;
    int64_t bytes;
  };

  Documents(std::unique_ptr<storage::ObjectReader> reader, std::string name, std::string field, RowKind kind,
            EmptyRows empty_rows, bool json_lines);
  absl::Status Scan();
  absl::Status ScanParquet();
  absl::StatusOr<std::string> RowOf(std::string_view line) const;
  absl::Status ScanJsonLine(int64_t offset, std::string_view line);
  // A row whose text is `empty` or not.
  void AddRow(const Extent& extent, bool empty);

  std::unique_ptr<storage::ObjectReader> reader_;
  std::string name_;
  std::string field_;
  RowKind kind_;
  EmptyRows empty_rows_;
  bool json_lines_;
  std::string kept_;  // the whole file, or nothing
  std::vector<Extent> extents_;
  bool has_text_ = false;
};

// Calls `line` for every line of an object, with its offset, its bytes (without '\n') and its number from 1. Reads in
// pieces; a byte order mark is skipped. With `kept`, all bytes are put there too. An error of `line` ends it, with the
// line's number put before; a line above `limit` bytes is an error.
absl::Status ForEachLine(
    storage::ObjectReader& reader, int64_t limit, std::string* kept,
    const std::function<absl::Status(int64_t offset, std::string_view bytes, int64_t number)>& line);

// Opens a calibration or evaluation file; one that is missing or empty is INVALID_CALIBRATION_DATA.
absl::StatusOr<std::unique_ptr<storage::ObjectReader>> OpenDataFile(storage::ObjectStore& store,
                                                                    const std::string& uri);

}  // namespace calipress::calibration
