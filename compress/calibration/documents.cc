#include "compress/calibration/documents.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/utf8.h"
#include "compress/calibration/json_field.h"
#include "compress/recipe/data_kind.h"
#include "compress/storage/spill.h"
#include "compress/storage/text_column.h"
#include "compress/storage/unpack.h"

namespace calipress::calibration {
namespace {

constexpr int64_t kPieceBytes = 4 << 20;
// Files up to this size stay in memory: object stores answer many small reads slowly.
constexpr int64_t kKeptBytes = 64 << 20;
constexpr int64_t kMaxDocumentBytes = 64 << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

absl::Status DataError(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

bool IsBlank(std::string_view line) { return line.find_first_not_of(" \t\r\f\v") == std::string_view::npos; }

}  // namespace

absl::StatusOr<std::unique_ptr<storage::ObjectReader>> OpenDataFile(storage::ObjectStore& store,
                                                                    const std::string& uri) {
  auto reader = store.Open(uri);
  if (absl::IsNotFound(reader.status())) {
    return DataError(absl::StrCat("there is no file ", storage::RedactUri(uri), "; check the path"));
  }
  if (reader.ok() && (*reader)->size() == 0) return DataError(absl::StrCat(storage::RedactUri(uri), " is empty"));
  return reader;
}

absl::Status ForEachLine(
    storage::ObjectReader& reader, int64_t limit, std::string* kept,
    const std::function<absl::Status(int64_t offset, std::string_view bytes, int64_t number)>& line) {
  std::string pending;  // the bytes from the current line's start on
  int64_t start = 0;    // of `pending` in the file
  int64_t number = 0;
  const auto emit = [&](std::string_view bytes) -> absl::Status {
    int64_t offset = start;
    start += static_cast<int64_t>(bytes.size()) + 1;
    ++number;
    if (number == 1 && bytes.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
      bytes.remove_prefix(kByteOrderMark.size());
      offset += static_cast<int64_t>(kByteOrderMark.size());
    }
    return Annotate(line(offset, bytes, number), absl::StrCat("line ", number));
  };

  if (kept != nullptr) kept->reserve(reader.size());
  for (int64_t position = 0; position < reader.size();) {
    const int64_t bytes = std::min(kPieceBytes, reader.size() - position);
    const size_t before = pending.size();
    pending.resize(before + bytes);
    CALIPRESS_RETURN_IF_ERROR(reader.ReadAt(position, bytes, pending.data() + before));
    if (kept != nullptr) kept->append(pending, before);
    position += bytes;

    size_t begin = 0;
    for (size_t end; (end = pending.find('\n', std::max(begin, before))) != std::string::npos; begin = end + 1) {
      CALIPRESS_RETURN_IF_ERROR(emit(std::string_view(pending).substr(begin, end - begin)));
    }
    pending.erase(0, begin);
    if (static_cast<int64_t>(pending.size()) > limit) {
      return DataError(absl::StrCat("line ", number + 1, " has more than ", limit, " bytes; split it"));
    }
  }
  return pending.empty() ? absl::OkStatus() : emit(pending);
}

Documents::Documents(std::unique_ptr<storage::ObjectReader> reader, std::string name, std::string field, RowKind kind,
                     EmptyRows empty_rows, bool json_lines)
    : reader_(std::move(reader)),
      name_(std::move(name)),
      field_(std::move(field)),
      kind_(kind),
      empty_rows_(empty_rows),
      json_lines_(json_lines) {}

absl::StatusOr<std::unique_ptr<Documents>> Documents::Open(storage::ObjectStore& store, const std::string& uri,
                                                           const std::string& field, RowKind row_kind,
                                                           EmptyRows empty_rows) {
  const std::string name = storage::RedactUri(uri);
  const recipe::DataKind kind = recipe::DataKindOf(uri);
  if (!recipe::IsDocuments(kind)) {
    const std::string_view endings = recipe::kDocumentEndings;
    return DataError(absl::StrCat(name, " does not end with ", absl::string_view(endings.data(), endings.size())));
  }
  CALIPRESS_ASSIGN_OR_RETURN(auto reader, OpenDataFile(store, uri));
  if (const auto packing = recipe::PackingOf(uri)) {
    auto unpacked = storage::Unpack(*reader, *packing);
    if (!unpacked.ok()) return Annotate(unpacked.status(), name);
    reader = *std::move(unpacked);
    if (reader->size() == 0) return DataError(absl::StrCat(name, " is empty"));
  }
  std::unique_ptr<Documents> documents(
      new Documents(std::move(reader), name, field, row_kind, empty_rows, kind == recipe::DataKind::kJsonLines));
  CALIPRESS_RETURN_IF_ERROR(
      Annotate(kind == recipe::DataKind::kParquet ? documents->ScanParquet() : documents->Scan(), name));
  if (!documents->has_text_) return DataError(absl::StrCat(name, " has no text in it"));
  return documents;
}

// The column's texts, end to end, take the file's place.
absl::Status Documents::ScanParquet() {
  storage::Spill texts;
  CALIPRESS_RETURN_IF_ERROR(
      storage::ForEachText(*reader_, field_, [&](std::string_view text, int64_t number) -> absl::Status {
        const size_t invalid = FindInvalidUtf8(text);
        if (invalid != std::string_view::npos) {
          return DataError(absl::StrCat("row ", number, ": not valid UTF-8 at byte ", invalid + 1));
        }
        if (static_cast<int64_t>(text.size()) > kMaxDocumentBytes) {
          return DataError(absl::StrCat("row ", number, " has more than ", kMaxDocumentBytes, " bytes; split it"));
        }
        if (static_cast<int64_t>(text.size()) > storage::kMostUnpackedBytes - texts.size()) {
          return DataError(
              absl::StrCat("its texts have more than ", storage::kMostUnpackedBytes, " bytes; give a part of them"));
        }
        AddRow({texts.size(), static_cast<int64_t>(text.size())}, text.empty());
        return texts.Append(text);
      }));
  CALIPRESS_ASSIGN_OR_RETURN(reader_, texts.Finish());
  return absl::OkStatus();
}

absl::StatusOr<std::string> Documents::RowOf(std::string_view line) const {
  return kind_ == RowKind::kMessages ? MessagesOfJsonLine(line, field_) : TextOfJsonLine(line, field_);
}

absl::Status Documents::ScanJsonLine(int64_t offset, std::string_view line) {
  if (IsBlank(line)) return absl::OkStatus();
  CALIPRESS_ASSIGN_OR_RETURN(const std::string text, RowOf(line));
  AddRow({offset, static_cast<int64_t>(line.size())}, text.empty());
  return absl::OkStatus();
}

void Documents::AddRow(const Extent& extent, bool empty) {
  if (!empty) has_text_ = true;
  if (!empty || empty_rows_ == EmptyRows::kKept) extents_.push_back(extent);
}

absl::Status Documents::Scan() {
  std::string* kept = reader_->size() <= kKeptBytes ? &kept_ : nullptr;
  if (json_lines_) {
    return ForEachLine(*reader_, kMaxDocumentBytes, kept,
                       [this](int64_t offset, std::string_view line, int64_t) { return ScanJsonLine(offset, line); });
  }
  bool open = false;  // the last extent may grow
  return ForEachLine(*reader_, kMaxDocumentBytes, kept,
                     [&](int64_t offset, std::string_view line, int64_t) -> absl::Status {
                       const size_t invalid = FindInvalidUtf8(line);
                       if (invalid != std::string_view::npos) {
                         return DataError(absl::StrCat("not valid UTF-8 at byte ", invalid + 1));
                       }
                       if (IsBlank(line)) {
                         open = false;
                         return absl::OkStatus();
                       }
                       if (line.back() == '\r') line.remove_suffix(1);
                       if (!open) extents_.push_back({offset, 0});
                       open = has_text_ = true;
                       Extent& extent = extents_.back();
                       extent.bytes = offset + static_cast<int64_t>(line.size()) - extent.offset;
                       if (extent.bytes <= kMaxDocumentBytes) return absl::OkStatus();
                       return DataError(absl::StrCat("a document has more than ", kMaxDocumentBytes,
                                                     " bytes; separate documents with blank lines"));
                     });
}

absl::StatusOr<std::string> Documents::Read(int64_t index) const {
  const Extent& extent = extents_[index];
  std::string bytes;
  if (extent.bytes == 0) return bytes;
  if (kept_.empty()) {
    bytes.resize(extent.bytes);
    CALIPRESS_RETURN_IF_ERROR(reader_->ReadAt(extent.offset, extent.bytes, bytes.data()));
  } else {
    bytes = kept_.substr(extent.offset, extent.bytes);
  }
  if (!json_lines_) return bytes;
  auto text = RowOf(bytes);
  if (!text.ok()) return Annotate(text.status(), absl::StrCat(name_, " (changed while it was read)"));
  return text;
}

}  // namespace calipress::calibration
