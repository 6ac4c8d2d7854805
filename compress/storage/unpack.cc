#include "compress/storage/unpack.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "arrow/io/compressed.h"
#include "arrow/result.h"
#include "arrow/util/compression.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/storage/arrow_input.h"
#include "compress/storage/spill.h"
#include "compress/storage/unpack_xz.h"

namespace calipress::storage {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;

absl::Status Unreadable(const char* name, const std::string& why) {
  return UserError(reason::kInvalidCalibrationData, absl::StrCat("cannot be unpacked as ", name, ": ", why));
}

absl::Status UnpackByArrow(ObjectReader& packed, arrow::Compression::type kind, const char* name,
                           const UnpackedSink& sink) {
  auto codec = arrow::util::Codec::Create(kind);
  if (!codec.ok()) return DefectError(codec.status().ToString());
  auto input = std::make_shared<ArrowInput>(packed);
  auto stream = arrow::io::CompressedInputStream::Make(codec->get(), input);
  if (!stream.ok()) return DefectError(stream.status().ToString());
  std::string piece(kPieceBytes, '\0');
  while (true) {
    const auto got = (*stream)->Read(kPieceBytes, piece.data());
    // What the storage says of itself comes first.
    if (!input->status().ok()) return input->status();
    if (!got.ok()) return Unreadable(name, got.status().message());
    if (*got == 0) return absl::OkStatus();
    CALIPRESS_RETURN_IF_ERROR(sink(std::string_view(piece).substr(0, *got)));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ObjectReader>> Unpack(ObjectReader& packed, Packing packing, int64_t limit) {
  Spill spill;
  const UnpackedSink sink = [&](std::string_view bytes) -> absl::Status {
    if (static_cast<int64_t>(bytes.size()) > limit - spill.size()) {
      return UserError(reason::kInvalidCalibrationData,
                       absl::StrCat("unpacks to more than ", limit, " bytes; give a part of it"));
    }
    return spill.Append(bytes);
  };
  switch (packing) {
    case Packing::kGzip:
      CALIPRESS_RETURN_IF_ERROR(UnpackByArrow(packed, arrow::Compression::GZIP, "gzip", sink));
      break;
    case Packing::kZstd:
      CALIPRESS_RETURN_IF_ERROR(UnpackByArrow(packed, arrow::Compression::ZSTD, "zstd", sink));
      break;
    case Packing::kXz:
      CALIPRESS_RETURN_IF_ERROR(UnpackXz(packed, sink));
      break;
  }
  return spill.Finish();
}

}  // namespace calipress::storage
