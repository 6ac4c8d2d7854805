#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace calipress::report::testing {

// What keeps a page from being well-formed XML, as far as pages here go: tags that do not close in order, attributes
// without quotes or twice, a bare '&' or '<'. "" where nothing does.
inline std::string MarkupProblem(std::string_view page) {
  std::vector<std::string> open;
  const std::string_view doctype = "<!DOCTYPE html>\n";
  if (page.substr(0, doctype.size()) != doctype) return "no doctype";
  page.remove_prefix(doctype.size());
  const auto is_name = [](char c) {
    return c == '-' || c == ':' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
  };
  const auto entity = [](std::string_view text) {
    for (const std::string_view known : {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"}) {
      if (text.substr(0, known.size()) == known) return true;
    }
    return false;
  };
  for (size_t i = 0; i < page.size(); ++i) {
    if (page[i] == '&' && !entity(page.substr(i))) return "bare & near " + std::string(page.substr(i, 40));
    if (static_cast<unsigned char>(page[i]) < 0x20 && page[i] != '\n' && page[i] != '\t') return "a control character";
    if (page[i] != '<') continue;
    const size_t start = i++;
    const std::string near = " near " + std::string(page.substr(start, 60));
    const bool closing = page[i] == '/';
    if (closing) ++i;
    std::string name;
    while (i < page.size() && is_name(page[i])) name += page[i++];
    if (name.empty()) return "bare <" + near;
    std::vector<std::string> attributes;
    bool empty = false;
    while (i < page.size() && page[i] != '>') {
      if (page[i] == ' ' || page[i] == '\n') {
        ++i;
      } else if (page[i] == '/') {
        empty = true;
        ++i;
      } else {
        std::string attribute;
        while (i < page.size() && is_name(page[i])) attribute += page[i++];
        for (const std::string& other : attributes) {
          if (other == attribute) return "attribute twice" + near;
        }
        attributes.push_back(attribute);
        if (attribute.empty() || page.substr(i, 2) != "=\"") return "attribute without quotes" + near;
        for (i += 2; i < page.size() && page[i] != '"'; ++i) {
          if (page[i] == '<' || (page[i] == '&' && !entity(page.substr(i))))
            return "bare character in attribute" + near;
        }
        ++i;
      }
    }
    if (closing) {
      if (open.empty() || open.back() != name) return "</" + name + "> closes nothing" + near;
      open.pop_back();
    } else if (!empty) {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

}  // namespace calipress::report::testing
