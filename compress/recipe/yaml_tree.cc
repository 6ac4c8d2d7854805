#include "compress/recipe/yaml_tree.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "nlohmann/json.hpp"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace calipress::recipe {
namespace {

// Thrown out of the handler through yaml-cpp's parser and caught in ParseYamlTree.
struct Refused {
  int line;
  std::string message;
};

bool IsUtf8(std::string_view text) {
  // nlohmann's serializer is the strict UTF-8 check that is at hand.
  try {
    nlohmann::json(std::string(text)).dump();
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

// Builds the tree from the parser's events, within the limits.
class TreeBuilder : public YAML::EventHandler {
 public:
  YamlNode Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Place(NewNode(YamlNode::Kind::kNull, mark, "", anchor));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused{LineOf(mark), "a recipe has no aliases; write the value out"};
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node = NewNode(YamlNode::Kind::kScalar, mark, tag, anchor);
    node.text = value;
    Place(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(NewNode(YamlNode::Kind::kSequence, mark, tag, anchor));
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(NewNode(YamlNode::Kind::kMap, mark, tag, anchor));
  }
  void OnMapEnd() override { Close(); }

 private:
  // Nodes without text of their own have no mark.
  int LineOf(const YAML::Mark& mark) const { return mark.line < 0 ? last_line_ : mark.line + 1; }

  YamlNode NewNode(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    YamlNode node;
    node.kind = kind;
    node.line = last_line_ = LineOf(mark);
    if (++nodes_ > kMaxYamlNodes) throw Refused{node.line, absl::StrCat("more than ", kMaxYamlNodes, " values")};
    if (anchor != 0) throw Refused{node.line, "a recipe has no anchors; write the value out"};
    if (!tag.empty() && tag != "?" && tag != "!" && tag.rfind("tag:yaml.org,2002:", 0) != 0) {
      throw Refused{node.line, absl::StrCat("tag '", tag, "' has no meaning in a recipe; leave it out")};
    }
    return node;
  }

  void Open(YamlNode node) {
    if (WantsKey()) throw Refused{node.line, "a key must be a plain name"};
    if (static_cast<int>(open_.size()) >= kMaxYamlDepth) {
      throw Refused{node.line, absl::StrCat("nested deeper than ", kMaxYamlDepth, " levels")};
    }
    open_.push_back(std::move(node));
  }

  void Close() {
    YamlNode node = std::move(open_.back());
    open_.pop_back();
    Place(std::move(node));
  }

  bool WantsKey() const {
    return !open_.empty() && open_.back().kind == YamlNode::Kind::kMap &&
           open_.back().keys.size() == open_.back().items.size();
  }

  void Place(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
    } else if (WantsKey()) {
      auto& keys = open_.back().keys;
      if (node.kind != YamlNode::Kind::kScalar) throw Refused{node.line, "a key must be a plain name"};
      if (std::find(keys.begin(), keys.end(), node.text) != keys.end()) {
        throw Refused{node.line, absl::StrCat("'", node.text, "' is given twice")};
      }
      keys.push_back(std::move(node.text));
    } else {
      open_.back().items.push_back(std::move(node));
    }
  }

  YamlNode root_;
  std::vector<YamlNode> open_;
  int nodes_ = 0;
  int last_line_ = 1;
};

}  // namespace

absl::StatusOr<YamlNode> ParseYamlTree(std::string_view text) {
  if (text.size() > kMaxYamlBytes) {
    return UserError(reason::kInvalidRecipe, absl::StrCat("the recipe has ", text.size(), " bytes; at most ",
                                                          kMaxYamlBytes, " are read. Is it the right file?"));
  }
  if (!IsUtf8(text)) return UserError(reason::kInvalidRecipe, "the recipe is not UTF-8 text. Is it the right file?");
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder;
    if (!parser.HandleNextDocument(builder)) return YamlNode{};
    TreeBuilder rest;
    if (parser.HandleNextDocument(rest)) {
      return UserError(reason::kInvalidRecipe, "the recipe has several YAML documents ('---'); give one");
    }
    return builder.Take();
  } catch (const Refused& refused) {
    return UserError(reason::kInvalidRecipe, absl::StrCat("line ", refused.line, ": ", refused.message));
  } catch (const YAML::Exception& error) {
    return UserError(reason::kInvalidRecipe, absl::StrCat("line ", error.mark.line + 1, ", column ",
                                                          error.mark.column + 1, ": not YAML: ", error.msg));
  } catch (const std::exception& error) {
    return DefectError(absl::StrCat("reading YAML: ", error.what()));
  }
}

}  // namespace calipress::recipe
