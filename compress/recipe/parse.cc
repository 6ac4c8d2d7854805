#include <charconv>
#include <optional>

#include "absl/strings/str_cat.h"
#include "compress/base/status_macros.h"
#include "compress/recipe/field_reader.h"
#include "compress/recipe/recipe.h"
#include "compress/recipe/yaml_tree.h"
#include "google/protobuf/descriptor.h"

namespace calipress::recipe {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr char kSetForm[] = "write it like steps[0].gptq.group_size=64";

// One step of a path: "sources[0]".
struct Segment {
  std::string name;
  std::optional<int> index;
};

std::optional<std::vector<Segment>> SplitPath(std::string_view path) {
  std::vector<Segment> segments;
  while (true) {
    const size_t dot = path.find('.');
    std::string_view part = path.substr(0, dot);
    Segment segment;
    const size_t bracket = part.find('[');
    segment.name = std::string(part.substr(0, bracket));
    if (segment.name.empty()) return std::nullopt;
    if (bracket != std::string_view::npos) {
      if (part.back() != ']') return std::nullopt;
      const std::string_view digits = part.substr(bracket + 1, part.size() - bracket - 2);
      int index = -1;
      const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
      if (digits.empty() || error != std::errc() || rest != digits.data() + digits.size() || index < 0) {
        return std::nullopt;
      }
      segment.index = index;
    }
    segments.push_back(std::move(segment));
    if (dot == std::string_view::npos) return segments;
    path.remove_prefix(dot + 1);
  }
}

absl::Status SetError(const std::string& path, const std::string& description) {
  return ViolationsError(reason::kInvalidRecipe, {{path, description}});
}

// The value's tree. Text fields take what is written, '#' and ':' included, unless it is quoted: a URI needs no quotes.
absl::StatusOr<YamlNode> ValueTree(const FieldDescriptor* field, bool element, std::string_view value) {
  const bool quoted = !value.empty() && (value[0] == '"' || value[0] == '\'');
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && (!field->is_repeated() || element) && !quoted) {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.text = std::string(value);
    return node;
  }
  return ParseYamlTree(value);
}

}  // namespace

absl::StatusOr<v1::Recipe> ParseYaml(std::string_view yaml) {
  CALIPRESS_ASSIGN_OR_RETURN(const YamlNode root, ParseYamlTree(yaml));
  if (root.kind == YamlNode::Kind::kNull) return UserError(reason::kInvalidRecipe, "the recipe is empty");
  v1::Recipe recipe;
  FieldReader reader(/*with_lines=*/true);
  reader.ReadMessage(root, "recipe", &recipe);
  if (!reader.violations().empty()) return ViolationsError(reason::kInvalidRecipe, reader.violations());
  return recipe;
}

absl::Status ApplySet(std::string_view assignment, v1::Recipe* recipe) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) {
    return UserError(reason::kInvalidRecipe, absl::StrCat("'", std::string(assignment), "' has no '='; ", kSetForm));
  }
  std::string_view path_text = assignment.substr(0, equals);
  const std::string_view value = assignment.substr(equals + 1);
  // Violations name fields from the recipe on; their paths work here too.
  constexpr std::string_view kRoot = "recipe.";
  if (path_text.substr(0, kRoot.size()) == kRoot) path_text.remove_prefix(kRoot.size());
  const std::string path(path_text);
  const auto segments = SplitPath(path_text);
  if (!segments) return SetError(path, absl::StrCat("not a path; ", kSetForm));

  v1::Recipe changed = *recipe;
  Message* message = &changed;
  for (size_t i = 0;; ++i) {
    const Segment& segment = (*segments)[i];
    const bool last = i + 1 == segments->size();
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(segment.name);
    if (field == nullptr) return SetError(path, UnknownFieldText(message->GetDescriptor(), segment.name));
    const Reflection* reflection = message->GetReflection();
    if (segment.index && !field->is_repeated()) {
      return SetError(path, absl::StrCat("'", segment.name, "' is not a list; leave the [", *segment.index, "] out"));
    }
    const int size = field->is_repeated() ? reflection->FieldSize(*message, field) : 0;
    if (segment.index && *segment.index > size) {
      return SetError(path, absl::StrCat("'", segment.name, "' has ", size, " entries; the next one is [", size, "]"));
    }

    if (last) {
      CALIPRESS_ASSIGN_OR_RETURN(const YamlNode node, ValueTree(field, segment.index.has_value(), value));
      FieldReader reader(/*with_lines=*/false);
      if (segment.index) {
        reader.AppendElement(field, node, path, message);
        if (reader.violations().empty() && *segment.index < size) {
          reflection->SwapElements(message, field, *segment.index, size);
          reflection->RemoveLast(message, field);
        }
      } else if (node.kind == YamlNode::Kind::kNull) {
        reflection->ClearField(message, field);
      } else {
        reader.ReadField(field, node, path, message);
      }
      if (!reader.violations().empty()) return ViolationsError(reason::kInvalidRecipe, reader.violations());
      *recipe = std::move(changed);
      return absl::OkStatus();
    }

    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return SetError(path, absl::StrCat("'", segment.name, "' has no fields of its own"));
    }
    if (field->is_repeated()) {
      if (!segment.index)
        return SetError(path, absl::StrCat("'", segment.name, "' is a list; say which: ", segment.name, "[0]"));
      message = *segment.index == size ? reflection->AddMessage(message, field)
                                       : reflection->MutableRepeatedMessage(message, field, *segment.index);
      continue;
    }
    // Going into another choice of a oneof would drop the one that is set, with all its options.
    if (const auto* oneof = field->real_containing_oneof()) {
      const FieldDescriptor* set = reflection->GetOneofFieldDescriptor(*message, oneof);
      if (set != nullptr && set != field) {
        return SetError(path, absl::StrCat("'", set->name(), "' is set here; to have '", field->name(),
                                           "' instead, set all of it: ", field->name(), "={...}"));
      }
    }
    message = reflection->MutableMessage(message, field);
  }
}

}  // namespace calipress::recipe
