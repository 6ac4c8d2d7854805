#include "compress/checkpoint/source_checkpoint.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/formats/linear_format.h"

namespace calipress::checkpoint {
namespace {

constexpr int64_t kConfigLimit = 16 << 20;

}  // namespace

absl::StatusOr<SourceCheckpoint> OpenCheckpoint(storage::ObjectStore& store, const std::string& uri) {
  SourceCheckpoint source;
  auto config = store.ReadAll(storage::JoinUri(uri, "config.json"), kConfigLimit);
  if (absl::IsNotFound(config.status())) {
    return MakeError(
        absl::StatusCode::kNotFound, reason::kSourceModelNotFound, ErrorClass::kUser,
        absl::StrCat("no config.json in ", storage::RedactUri(uri), ": give the folder of a Hugging Face model"));
  }
  CALIPRESS_RETURN_IF_ERROR(config.status());
  source.config_json = *std::move(config);
  CALIPRESS_ASSIGN_OR_RETURN(source.spec, arch::ParseConfig(source.config_json));
  CALIPRESS_ASSIGN_OR_RETURN(source.quantization, ParseQuantizationConfig(source.config_json));
  CALIPRESS_ASSIGN_OR_RETURN(source.reader, ModelReader::Open(store, uri));
  return source;
}

std::string FormatName(const QuantizationConfig& quantization) {
  if (quantization.spqr) return "spqr";
  return quantization.schemes.empty() ? "dense" : std::string(quantization.format->name());
}

}  // namespace calipress::checkpoint
