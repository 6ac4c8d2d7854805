#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace calipress::report {

// Text as it may stand between tags and in quoted attributes. Characters that neither HTML nor XML can hold, and bytes
// that are no UTF-8, become U+FFFD.
std::string Escaped(std::string_view text);

// What stands where there is no value: an en dash.
extern const char kNone[];

// Figures; kNone for what is not finite.
std::string Fixed(double value, int digits);
std::string Percent(double ratio);                // "98.2 %"
std::string Change(double before, double after);  // "+2.05 %"
std::string Grouped(int64_t value);               // "1 234 567", with thin spaces

// A table; cells and titles are markup.
class HtmlTable {
 public:
  struct Column {
    std::string title;
    bool number = false;  // to the right
  };

  explicit HtmlTable(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // One cell for each column.
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  // Scrolls sideways where the page is too narrow for it. "" where it is empty.
  std::string Render() const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// A part of the page; "" where `body` is.
std::string Section(const char* title, const std::string& body);

}  // namespace calipress::report
