#include "compress/recipe/uris.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"

namespace calipress::recipe {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Visit = std::function<void(const std::string& field, std::string* uri)>;

void Walk(Message* message, const std::string& path, const Visit& visit) {
  const auto& reflection = *message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string inner = absl::StrCat(path, ".", field->name());
    if (field->name() == "uri" || field->full_name() == "calipress.v1.Evaluation.reference") {
      std::string uri = reflection.GetString(*message, field);
      visit(inner, &uri);
      reflection.SetString(message, field, uri);
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      Walk(reflection.MutableMessage(message, field), inner, visit);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(*message, field); ++i) {
      Walk(reflection.MutableRepeatedMessage(message, field, i), absl::StrCat(inner, "[", i, "]"), visit);
    }
  }
}

}  // namespace

void ForEachUri(v1::Recipe* recipe, const Visit& visit) { Walk(recipe, "recipe", visit); }

}  // namespace calipress::recipe
