#include "compress/report/html.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compress/base/units.h"
#include "compress/base/utf8.h"

namespace calipress::report {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Of characters that are well-formed: controls, and the two last ones of the basic plane.
bool Forbidden(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return (first < 0x20 && first != '\t' && first != '\n') || first == 0x7F;
  if (character.size() == 2) return first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
  return character == "\xEF\xBF\xBE" || character == "\xEF\xBF\xBF";
}

}  // namespace

const char kNone[] = "\xE2\x80\x93";

std::string Escaped(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    const std::string_view character = text.substr(0, bytes == 0 ? 1 : bytes);
    text.remove_prefix(character.size());
    if (bytes == 0 || Forbidden(character)) {
      safe.append(kReplacement);
    } else if (character == "&") {
      safe.append("&amp;");
    } else if (character == "<") {
      safe.append("&lt;");
    } else if (character == ">") {
      safe.append("&gt;");
    } else if (character == "\"") {
      safe.append("&#34;");
    } else if (character == "'") {
      safe.append("&#39;");
    } else {
      safe.append(character);
    }
  }
  return safe;
}

std::string Fixed(double value, int digits) {
  return std::isfinite(value) ? absl::StrFormat("%.*f", digits, value) : kNone;
}

std::string Percent(double ratio) { return std::isfinite(ratio) ? FormatPercent(ratio) : kNone; }

std::string Change(double before, double after) {
  const double change = 100 * (after / before - 1);
  return before > 0 && std::isfinite(change) ? absl::StrFormat("%+.2f %%", change) : kNone;
}

std::string Grouped(int64_t value) {
  std::string digits = absl::StrCat(value);
  const size_t first = digits[0] == '-' ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, "\xE2\x80\x89");
  }
  return digits;
}

std::string HtmlTable::Render() const {
  if (rows_.empty()) return "";
  std::string html = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const Column& column : columns_) {
    absl::StrAppend(&html, column.number ? "<th class=\"n\" scope=\"col\">" : "<th scope=\"col\">", column.title,
                    "</th>");
  }
  absl::StrAppend(&html, "</tr></thead>\n<tbody>\n");
  for (const auto& row : rows_) {
    absl::StrAppend(&html, "<tr>");
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&html, columns_[i].number ? "<td class=\"n\">" : "<td>", row[i], "</td>");
    }
    absl::StrAppend(&html, "</tr>\n");
  }
  return html + "</tbody></table></div>\n";
}

std::string Section(const char* title, const std::string& body) {
  if (body.empty()) return "";
  return absl::StrCat("<section>\n<h2>", title, "</h2>\n", body, "</section>\n");
}

}  // namespace calipress::report
