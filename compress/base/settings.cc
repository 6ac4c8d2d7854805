#include "compress/base/settings.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/base/error.h"

namespace calipress {
namespace {

absl::Status Wrong(const YAML::Node& node, const std::string& what) {
  const int line = node.Mark().line;
  return UserError(reason::kInvalidRequest, line < 0 ? what : absl::StrCat("line ", line + 1, ": ", what));
}

// Single edits between two words.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

using Setter = std::function<absl::Status(const std::string& key, const YAML::Node& value)>;
using Schema = std::map<std::string, Setter>;

std::string UnknownKey(const std::string& key, const Schema& schema) {
  const auto nearest = std::min_element(schema.begin(), schema.end(), [&](const auto& a, const auto& b) {
    return Distance(key, a.first) < Distance(key, b.first);
  });
  return absl::StrCat("unknown key '", key, "'; did you mean '", nearest->first, "'?");
}

absl::Status ReadMap(const YAML::Node& node, const std::string& what, const Schema& schema) {
  if (!node.IsMap()) return Wrong(node, absl::StrCat(what, " must be a map of keys and values"));
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) return Wrong(entry.first, absl::StrCat(what, " has a key that is not a word"));
    const std::string key = entry.first.Scalar();
    const auto found = schema.find(key);
    if (found == schema.end()) return Wrong(entry.first, UnknownKey(key, schema));
    if (const absl::Status status = found->second(key, entry.second); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadText(const std::string& key, const YAML::Node& value, std::string* target) {
  if (value.IsNull()) {
    target->clear();
  } else if (value.IsScalar()) {
    *target = value.Scalar();
  } else {
    return Wrong(value, absl::StrCat(key, " must be text"));
  }
  return absl::OkStatus();
}

template <typename T>
Setter NumberSetter(T* target, T least, T most) {
  return [=](const std::string& key, const YAML::Node& value) -> absl::Status {
    T number{};
    // Written so that NaN is refused too.
    if (!value.IsScalar() || !YAML::convert<T>::decode(value, number) || !(number >= least && number <= most)) {
      return Wrong(value, absl::StrCat(key, " must be a number from ", least, " to ", most));
    }
    *target = number;
    return absl::OkStatus();
  };
}

}  // namespace

struct Settings::Impl {
  Schema schema;
};

Settings::Settings() : impl_(std::make_unique<Impl>()) {}
Settings::~Settings() = default;
Settings::Settings(Settings&&) noexcept = default;

void Settings::Text(const std::string& key, std::string* target) {
  impl_->schema[key] = [target](const std::string& name, const YAML::Node& value) {
    return ReadText(name, value, target);
  };
}

void Settings::Choice(const std::string& key, std::string* target, std::vector<std::string> words) {
  impl_->schema[key] = [target, words = std::move(words)](const std::string& name,
                                                          const YAML::Node& value) -> absl::Status {
    if (const absl::Status status = ReadText(name, value, target); !status.ok()) return status;
    if (std::find(words.begin(), words.end(), *target) != words.end()) return absl::OkStatus();
    return Wrong(value, absl::StrCat(name, " must be one of ", absl::StrJoin(words, ", ")));
  };
}

void Settings::Address(const std::string& key, std::string* target, bool may_be_empty) {
  impl_->schema[key] = [=](const std::string& name, const YAML::Node& value) -> absl::Status {
    if (const absl::Status status = ReadText(name, value, target); !status.ok()) return status;
    const bool well_formed = target->rfind(':') != std::string::npos && target->back() != ':';
    if (well_formed || (may_be_empty && target->empty())) return absl::OkStatus();
    return Wrong(value, absl::StrCat(name, " must be host:port, as in 127.0.0.1:7070"));
  };
}

void Settings::Number(const std::string& key, double* target, double least, double most) {
  impl_->schema[key] = NumberSetter(target, least, most);
}
void Settings::Number(const std::string& key, int* target, int least, int most) {
  impl_->schema[key] = NumberSetter(target, least, most);
}
void Settings::Number(const std::string& key, int64_t* target, int64_t least, int64_t most) {
  impl_->schema[key] = NumberSetter(target, least, most);
}

void Settings::Flag(const std::string& key, bool* target) {
  impl_->schema[key] = [target](const std::string& name, const YAML::Node& value) -> absl::Status {
    if (value.IsScalar() && YAML::convert<bool>::decode(value, *target)) return absl::OkStatus();
    return Wrong(value, absl::StrCat(name, " must be true or false"));
  };
}

void Settings::Section(const std::string& key, Settings section) {
  impl_->schema[key] = [inner = std::shared_ptr<Impl>(std::move(section.impl_))](const std::string& name,
                                                                                 const YAML::Node& value) {
    return ReadMap(value, name, inner->schema);
  };
}

absl::Status Settings::Read(std::string_view yaml) const {
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    // An empty file is all defaults.
    return root.IsNull() ? absl::OkStatus() : ReadMap(root, "the configuration", impl_->schema);
  } catch (const YAML::Exception& e) {
    return UserError(reason::kInvalidRequest, absl::StrCat("line ", e.mark.line + 1, ": not YAML: ", e.msg));
  }
}

}  // namespace calipress
