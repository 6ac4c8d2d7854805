#include "server/assembly/message_json.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"

namespace calipress::assembly {

absl::StatusOr<std::string> MessageJson(const google::protobuf::Message& message, bool zeros) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = zeros;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return DefectError(absl::StrCat("the report cannot be written as JSON: ", status.ToString()));
  return json;
}

}  // namespace calipress::assembly
