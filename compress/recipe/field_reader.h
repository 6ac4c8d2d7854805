#pragma once

#include <string>
#include <vector>

#include "compress/base/error.h"
#include "compress/recipe/yaml_tree.h"
#include "google/protobuf/message.h"

namespace calipress::recipe {

// Puts YAML values into the fields of a message, by its descriptor: the proto is the one schema. Collects every
// violation instead of stopping at the first; a message that gave one is of no use.
class FieldReader {
 public:
  // `with_lines`: descriptions begin with the line of the value.
  explicit FieldReader(bool with_lines) : with_lines_(with_lines) {}

  // Sets the fields that the map `node` names; an empty value is an empty message. `path` is the message's own.
  void ReadMessage(const YamlNode& node, const std::string& path, google::protobuf::Message* message);

  // Replaces the field's value; an empty value clears a scalar or a list, and makes a message present and empty.
  void ReadField(const google::protobuf::FieldDescriptor* field, const YamlNode& node, const std::string& path,
                 google::protobuf::Message* message);

  // Appends one value to a repeated field.
  void AppendElement(const google::protobuf::FieldDescriptor* field, const YamlNode& node, const std::string& path,
                     google::protobuf::Message* message);

  const std::vector<FieldViolation>& violations() const { return violations_; }

 private:
  void ReadScalar(const google::protobuf::FieldDescriptor* field, const YamlNode& node, const std::string& path,
                  google::protobuf::Message* message);
  void Refuse(int line, const std::string& path, const std::string& description);

  bool with_lines_;
  std::vector<FieldViolation> violations_;
};

// "unknown field 'groupsize'; did you mean 'group_size'?", or the fields that there are where none is near.
std::string UnknownFieldText(const google::protobuf::Descriptor* descriptor, const std::string& name);

// The value of an enum by its short name in any case ("original", for PROPAGATION_ORIGINAL) or its full one; null for
// any other text, and for the unspecified value: that is written by leaving the field out.
const google::protobuf::EnumValueDescriptor* FindEnumValue(const google::protobuf::EnumDescriptor* descriptor,
                                                           const std::string& text);

}  // namespace calipress::recipe
