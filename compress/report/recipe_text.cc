#include "compress/report/recipe_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <vector>

#include "compress/recipe/recipe_yaml.h"
#include "compress/storage/object_store.h"

namespace calipress::report {
namespace {

// Takes credentials out of every URI in a message.
void RedactUris(google::protobuf::Message* message) {
  const auto* reflection = message->GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(*message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
      const int count = field->is_repeated() ? reflection->FieldSize(*message, field) : 1;
      for (int i = 0; i < count; ++i) {
        RedactUris(field->is_repeated() ? reflection->MutableRepeatedMessage(message, field, i)
                                        : reflection->MutableMessage(message, field));
      }
    } else if (!field->is_repeated() && (field->name() == "uri" || field->name() == "reference")) {
      reflection->SetString(message, field, storage::RedactUri(reflection->GetString(*message, field)));
    }
  }
}

}  // namespace

std::string RecipeText(const v1::Recipe& recipe) {
  v1::Recipe shown = recipe;
  RedactUris(&shown);
  return recipe::RecipeYaml(shown);
}

}  // namespace calipress::report
