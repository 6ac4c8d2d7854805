#include "compress/recipe/recipe_yaml.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace calipress::recipe {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// A JSON scalar is a YAML scalar, quotes and escapes included.
std::string Scalar(const Message& message, const FieldDescriptor& field, int index) {
  const auto& reflection = *message.GetReflection();
  const bool repeated = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(repeated ? reflection.GetRepeatedInt32(message, &field, index)
                                   : reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(repeated ? reflection.GetRepeatedInt64(message, &field, index)
                                   : reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(repeated ? reflection.GetRepeatedUInt32(message, &field, index)
                                   : reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(repeated ? reflection.GetRepeatedUInt64(message, &field, index)
                                   : reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return nlohmann::json(repeated ? reflection.GetRepeatedDouble(message, &field, index)
                                     : reflection.GetDouble(message, &field))
          .dump();
    case FieldDescriptor::CPPTYPE_FLOAT:
      return nlohmann::json(repeated ? reflection.GetRepeatedFloat(message, &field, index)
                                     : reflection.GetFloat(message, &field))
          .dump();
    case FieldDescriptor::CPPTYPE_BOOL:
      return (repeated ? reflection.GetRepeatedBool(message, &field, index) : reflection.GetBool(message, &field))
                 ? "true"
                 : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return (repeated ? reflection.GetRepeatedEnum(message, &field, index) : reflection.GetEnum(message, &field))
          ->name();
    case FieldDescriptor::CPPTYPE_STRING:
      return nlohmann::json(repeated ? reflection.GetRepeatedString(message, &field, index)
                                     : reflection.GetString(message, &field))
          .dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  return "null";
}

// Appends the set fields, each on its own line after `indent` spaces; `first` is put before the first one instead (a
// list item's "- "). Writes "{}" where nothing is set.
void AppendMessage(const Message& message, int indent, const std::string& first, std::string* yaml) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  const std::string margin(indent, ' ');
  std::string lead = first.empty() ? margin : first;
  if (fields.empty()) absl::StrAppend(yaml, lead, "{}\n");
  for (const FieldDescriptor* field : fields) {
    absl::StrAppend(yaml, lead, field->name(), ":");
    lead = margin;
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!field->is_repeated()) {
      if (is_message) {
        const Message& child = message.GetReflection()->GetMessage(message, field);
        std::vector<const FieldDescriptor*> children;
        child.GetReflection()->ListFields(child, &children);
        absl::StrAppend(yaml, children.empty() ? " {}\n" : "\n");
        if (!children.empty()) AppendMessage(child, indent + 2, "", yaml);
      } else {
        absl::StrAppend(yaml, " ", Scalar(message, *field, 0), "\n");
      }
      continue;
    }
    absl::StrAppend(yaml, "\n");
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      const std::string item = absl::StrCat(margin, "  - ");
      if (is_message) {
        AppendMessage(message.GetReflection()->GetRepeatedMessage(message, field, i), indent + 4, item, yaml);
      } else {
        absl::StrAppend(yaml, item, Scalar(message, *field, i), "\n");
      }
    }
  }
}

}  // namespace

std::string RecipeYaml(const v1::Recipe& recipe) {
  std::string yaml;
  AppendMessage(recipe, 0, "", &yaml);
  return yaml;
}

}  // namespace calipress::recipe
