#include "compress/calibration/token_safetensors.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/safetensors.h"

namespace calipress::calibration {
namespace {

absl::Status FileError(const std::string& message) {
  return UserError(reason::kInvalidCalibrationData, absl::StrCat("not a .safetensors of token ids: ", message));
}

}  // namespace

absl::StatusOr<TokenFileLayout> ParseTokenSafetensorsLayout(std::string_view start, int64_t file_bytes) {
  uint64_t header_bytes = 0;
  if (start.size() < sizeof header_bytes) return FileError("it ends within its header");
  std::memcpy(&header_bytes, start.data(), sizeof header_bytes);
  if (header_bytes > start.size() - sizeof header_bytes) {
    return FileError(absl::StrCat("its header says that it has ", header_bytes,
                                  " bytes; it is cut off, or has more than the one tensor"));
  }
  const auto header = checkpoint::ParseSafetensorsHeader(start.substr(sizeof header_bytes, header_bytes), file_bytes);
  if (!header.ok()) return FileError(std::string(header.status().message()));
  if (header->tensors.size() != 1) {
    return FileError(absl::StrCat("it has ", header->tensors.size(), " tensors; one is wanted: [sequences, length]"));
  }
  const checkpoint::TensorInfo& tensor = header->tensors[0];
  if (tensor.dtype != Dtype::kI64 && tensor.dtype != Dtype::kI32) {
    return FileError("its tensor is neither I64 nor I32; ids are integers: tensor.to(torch.int64)");
  }
  if (tensor.shape.size() != 2) {
    return FileError(
        absl::StrCat("its tensor has ", tensor.shape.size(), " dimensions; two are wanted: [sequences, length]"));
  }
  if (tensor.bytes == 0) return FileError("it has no ids");
  return TokenFileLayout{.sequences = tensor.shape[0],
                         .length = tensor.shape[1],
                         .id_bytes = tensor.dtype == Dtype::kI64 ? 8 : 4,
                         .data_begin = tensor.offset};
}

absl::StatusOr<TokenMatrix> ParseTokenSafetensors(std::string_view bytes) {
  CALIPRESS_ASSIGN_OR_RETURN(
      const TokenFileLayout layout,
      ParseTokenSafetensorsLayout(bytes.substr(0, kTokenFileStartBytes), static_cast<int64_t>(bytes.size())));
  return ReadTokenRows(bytes, layout);
}

}  // namespace calipress::calibration
