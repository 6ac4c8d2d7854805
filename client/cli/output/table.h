#pragma once

#include <string>
#include <vector>

namespace calipress::cli {

// Rows in columns as wide as their widest cell, two spaces between, no space at a line's end.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell for each column. Control characters become spaces.
  void Add(std::vector<std::string> row);

  // The titles, then the rows, each with a line end.
  std::string Render() const;

  bool empty() const { return rows_.empty(); }

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace calipress::cli
