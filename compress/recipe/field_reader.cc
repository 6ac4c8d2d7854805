#include "compress/recipe/field_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/descriptor.h"

namespace calipress::recipe {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

// What two spellings of one name have in common: groupSize, group-size, group_size.
std::string Folded(const std::string& name) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"_", ""}, {"-", ""}});
}

size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitution = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitution});
    }
  }
  return row.back();
}

// Values are quoted in messages; a pasted page is not.
std::string Excerpt(const std::string& text) {
  constexpr size_t kLength = 60;
  return text.size() <= kLength ? text : absl::StrCat(text.substr(0, kLength), "...");
}

std::optional<double> ParseNumber(const std::string& text) {
  const std::string plain = absl::StrReplaceAll(text, {{"_", ""}});
  const char* begin = plain.data() + (absl::StartsWith(plain, "+") ? 1 : 0);
  const char* end = plain.data() + plain.size();
  double value = 0;
  const auto [rest, error] = std::from_chars(begin, end, value);
  if (begin == end || error != std::errc() || rest != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

// Whole numbers also as 5_000_000_000 and 5e9.
template <typename Integer>
std::optional<Integer> ParseInteger(const std::string& text) {
  const std::string plain = absl::StrReplaceAll(text, {{"_", ""}});
  Integer value = 0;
  const auto [rest, error] = std::from_chars(plain.data(), plain.data() + plain.size(), value);
  if (!plain.empty() && error == std::errc() && rest == plain.data() + plain.size()) return value;
  const std::optional<double> number = ParseNumber(text);
  constexpr double kExact = 9007199254740992.0;  // 2^53: below it a double is the number that was written
  if (!number || *number != std::floor(*number) || std::abs(*number) > kExact) return std::nullopt;
  if (*number < static_cast<double>(std::numeric_limits<Integer>::lowest()) ||
      *number > static_cast<double>(std::numeric_limits<Integer>::max())) {
    return std::nullopt;
  }
  return static_cast<Integer>(*number);
}

std::optional<bool> ParseBool(const std::string& text) {
  const std::string lower = absl::AsciiStrToLower(text);
  if (lower == "true") return true;
  if (lower == "false") return false;
  return std::nullopt;
}

// "PROPAGATION_" for the values of Propagation.
std::string EnumPrefix(const EnumDescriptor* descriptor) {
  const std::string& zero = descriptor->FindValueByNumber(0)->name();
  return zero.substr(0, zero.size() - std::string("UNSPECIFIED").size());
}

std::string EnumChoices(const EnumDescriptor* descriptor) {
  const std::string prefix = EnumPrefix(descriptor);
  std::vector<std::string> names;
  for (int i = 0; i < descriptor->value_count(); ++i) {
    if (descriptor->value(i)->number() == 0) continue;
    names.push_back(absl::AsciiStrToLower(descriptor->value(i)->name().substr(prefix.size())));
  }
  return absl::StrJoin(names, " or ");
}

const char* KindName(const FieldDescriptor* field) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return "text";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    case FieldDescriptor::CPPTYPE_ENUM:
      return "a name";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "fields ('name: value')";
    default:
      return "a whole number";
  }
}

const char* FoundName(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return "a single value";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMap:
      return "fields ('name: value')";
  }
  return "";
}

}  // namespace

const EnumValueDescriptor* FindEnumValue(const EnumDescriptor* descriptor, const std::string& text) {
  const std::string upper = absl::AsciiStrToUpper(absl::StrReplaceAll(text, {{"-", "_"}}));
  const EnumValueDescriptor* value = descriptor->FindValueByName(absl::StrCat(EnumPrefix(descriptor), upper));
  if (value == nullptr) value = descriptor->FindValueByName(upper);
  return value == nullptr || value->number() == 0 ? nullptr : value;
}

std::string UnknownFieldText(const Descriptor* descriptor, const std::string& name) {
  const std::string folded = Folded(name);
  std::string nearest;
  size_t nearest_distance = std::max<size_t>(1, folded.size() / 3) + 1;
  std::vector<std::string> known;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const std::string& candidate = descriptor->field(i)->name();
    known.push_back(candidate);
    if (folded.size() > 64) continue;
    size_t distance = EditDistance(folded, Folded(candidate));
    if (folded.size() >= 3 && absl::StartsWith(Folded(candidate), folded)) distance = std::min<size_t>(distance, 1);
    if (distance < nearest_distance) {
      nearest_distance = distance;
      nearest = candidate;
    }
  }
  if (!nearest.empty()) return absl::StrCat("unknown field '", Excerpt(name), "'; did you mean '", nearest, "'?");
  return absl::StrCat("unknown field '", Excerpt(name), "'; the fields here are ", absl::StrJoin(known, ", "));
}

void FieldReader::Refuse(int line, const std::string& path, const std::string& description) {
  constexpr size_t kMaxViolations = 100;
  if (violations_.size() >= kMaxViolations) return;
  violations_.push_back({path, with_lines_ ? absl::StrCat("line ", line, ": ", description) : description});
}

void FieldReader::ReadMessage(const YamlNode& node, const std::string& path, Message* message) {
  if (node.kind == YamlNode::Kind::kNull) return;
  if (node.kind != YamlNode::Kind::kMap) {
    Refuse(node.line, path, absl::StrCat("expected fields ('name: value'), found ", FoundName(node)));
    return;
  }
  const Descriptor* descriptor = message->GetDescriptor();
  std::map<const OneofDescriptor*, std::string> chosen;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i];
    const YamlNode& value = node.items[i];
    const FieldDescriptor* field = descriptor->FindFieldByName(name);
    if (field == nullptr) {
      Refuse(value.line, path, UnknownFieldText(descriptor, name));
      continue;
    }
    if (const OneofDescriptor* oneof = field->real_containing_oneof()) {
      const auto [other, first] = chosen.emplace(oneof, name);
      if (!first) {
        Refuse(value.line, path, absl::StrCat("'", other->second, "' and '", name, "' exclude each other; keep one"));
        continue;
      }
    }
    ReadField(field, value, absl::StrCat(path, path.empty() ? "" : ".", name), message);
  }
}

void FieldReader::ReadField(const FieldDescriptor* field, const YamlNode& node, const std::string& path,
                            Message* message) {
  message->GetReflection()->ClearField(message, field);
  if (field->is_repeated()) {
    if (node.kind == YamlNode::Kind::kNull) return;
    // One text is a list of one.
    if (node.kind == YamlNode::Kind::kScalar && field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      return AppendElement(field, node, path, message);
    }
    if (node.kind != YamlNode::Kind::kSequence) {
      Refuse(node.line, path,
             absl::StrCat("expected a list ('[...]', or lines that begin with '- '), found ", FoundName(node)));
      return;
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      AppendElement(field, node.items[i], absl::StrCat(path, "[", i, "]"), message);
    }
    return;
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    ReadMessage(node, path, message->GetReflection()->MutableMessage(message, field));
    return;
  }
  if (node.kind != YamlNode::Kind::kNull) ReadScalar(field, node, path, message);
}

void FieldReader::AppendElement(const FieldDescriptor* field, const YamlNode& node, const std::string& path,
                                Message* message) {
  if (node.kind == YamlNode::Kind::kNull) {
    Refuse(node.line, path, absl::StrCat("expected ", KindName(field), ", found nothing"));
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    ReadMessage(node, path, message->GetReflection()->AddMessage(message, field));
  } else {
    ReadScalar(field, node, path, message);
  }
}

void FieldReader::ReadScalar(const FieldDescriptor* field, const YamlNode& node, const std::string& path,
                             Message* message) {
  if (node.kind != YamlNode::Kind::kScalar) {
    Refuse(node.line, path, absl::StrCat("expected ", KindName(field), ", found ", FoundName(node)));
    return;
  }
  const Reflection* reflection = message->GetReflection();
  const bool add = field->is_repeated();
  const auto refuse = [&] {
    Refuse(node.line, path, absl::StrCat("expected ", KindName(field), ", found '", Excerpt(node.text), "'"));
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      add ? reflection->AddString(message, field, node.text) : reflection->SetString(message, field, node.text);
      return;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (const auto value = ParseBool(node.text)) {
        return add ? reflection->AddBool(message, field, *value) : reflection->SetBool(message, field, *value);
      }
      return refuse();
    case FieldDescriptor::CPPTYPE_DOUBLE:
      if (const auto value = ParseNumber(node.text)) {
        return add ? reflection->AddDouble(message, field, *value) : reflection->SetDouble(message, field, *value);
      }
      return refuse();
    case FieldDescriptor::CPPTYPE_INT32:
      if (const auto value = ParseInteger<int32_t>(node.text)) {
        return add ? reflection->AddInt32(message, field, *value) : reflection->SetInt32(message, field, *value);
      }
      return refuse();
    case FieldDescriptor::CPPTYPE_INT64:
      if (const auto value = ParseInteger<int64_t>(node.text)) {
        return add ? reflection->AddInt64(message, field, *value) : reflection->SetInt64(message, field, *value);
      }
      return refuse();
    case FieldDescriptor::CPPTYPE_UINT64:
      if (const auto value = ParseInteger<uint64_t>(node.text)) {
        return add ? reflection->AddUInt64(message, field, *value) : reflection->SetUInt64(message, field, *value);
      }
      return refuse();
    case FieldDescriptor::CPPTYPE_ENUM:
      if (const EnumValueDescriptor* value = FindEnumValue(field->enum_type(), node.text)) {
        return add ? reflection->AddEnum(message, field, value) : reflection->SetEnum(message, field, value);
      }
      Refuse(node.line, path,
             absl::StrCat("expected ", EnumChoices(field->enum_type()), ", found '", Excerpt(node.text), "'"));
      return;
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  // A test walks the descriptors of Recipe and keeps this from being reached.
  Refuse(node.line, path, absl::StrCat("fields of type ", field->type_name(), " cannot be set from YAML"));
}

}  // namespace calipress::recipe
