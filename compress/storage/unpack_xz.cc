#include "compress/storage/unpack_xz.h"

#include <lzma.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"

namespace calipress::storage {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;
// xz -9 needs 65 MiB; a file may ask for 4 GiB.
constexpr uint64_t kMemoryLimit = 256 << 20;

absl::Status XzError(lzma_ret code) {
  std::string why;
  switch (code) {
    case LZMA_FORMAT_ERROR:
      why = "it is no .xz file";
      break;
    case LZMA_MEMLIMIT_ERROR:
      why = absl::StrCat("its dictionary needs more than ", kMemoryLimit, " bytes; pack it with xz -9 or less");
      break;
    case LZMA_BUF_ERROR:
      why = "it is cut off";
      break;
    case LZMA_DATA_ERROR:
      why = "its bytes are damaged";
      break;
    default:
      why = absl::StrCat("liblzma's error ", static_cast<int>(code));
  }
  return UserError(reason::kInvalidCalibrationData, absl::StrCat("cannot be unpacked as xz: ", why));
}

class Decoder {
 public:
  Decoder() : code_(lzma_stream_decoder(&stream, kMemoryLimit, LZMA_CONCATENATED)) {}
  ~Decoder() { lzma_end(&stream); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  lzma_ret code() const { return code_; }

  lzma_stream stream = LZMA_STREAM_INIT;

 private:
  const lzma_ret code_;
};

}  // namespace

absl::Status UnpackXz(ObjectReader& packed, const UnpackedSink& sink) {
  Decoder decoder;
  if (decoder.code() != LZMA_OK) return XzError(decoder.code());
  std::string in(kPieceBytes, '\0');
  std::string out(kPieceBytes, '\0');
  int64_t position = 0;
  while (true) {
    if (decoder.stream.avail_in == 0 && position < packed.size()) {
      const int64_t bytes = std::min(kPieceBytes, packed.size() - position);
      CALIPRESS_RETURN_IF_ERROR(packed.ReadAt(position, bytes, in.data()));
      position += bytes;
      decoder.stream.next_in = reinterpret_cast<const uint8_t*>(in.data());
      decoder.stream.avail_in = static_cast<size_t>(bytes);
    }
    decoder.stream.next_out = reinterpret_cast<uint8_t*>(out.data());
    decoder.stream.avail_out = out.size();
    const lzma_ret code = lzma_code(&decoder.stream, position == packed.size() ? LZMA_FINISH : LZMA_RUN);
    if (code != LZMA_OK && code != LZMA_STREAM_END) return XzError(code);
    CALIPRESS_RETURN_IF_ERROR(sink(std::string_view(out).substr(0, out.size() - decoder.stream.avail_out)));
    if (code == LZMA_STREAM_END) return absl::OkStatus();
  }
}

}  // namespace calipress::storage
