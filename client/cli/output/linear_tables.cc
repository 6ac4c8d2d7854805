#include "client/cli/output/linear_tables.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output/table.h"
#include "compress/base/units.h"
#include "compress/report/linear_grid.h"

namespace calipress::cli {
namespace {

using Align = Table::Align;

constexpr size_t kWorst = 10;

}  // namespace

std::string BlocksText(const v1::Report& report) {
  using Linear = v1::LinearReport;
  const auto errors = report::MeanByBlock(report, [](const Linear& linear) { return linear.relative_error(); });
  const auto zeros = report::MeanByBlock(report, [](const Linear& linear) { return linear.sparsity(); });
  const auto bits = report::MeanByBlock(report, [](const Linear& linear) { return linear.bits_per_weight(); });
  Table table({{"block", Align::kRight},
               {"mean relative error", Align::kRight},
               {"zeros", Align::kRight},
               {"bits", Align::kRight}});
  for (const auto& [block, error] : errors) {
    table.Add({absl::StrCat(block), absl::StrFormat("%.5f", error), FormatPercent(zeros.at(block)),
               absl::StrFormat("%.3f", bits.at(block))});
  }
  return table.empty() ? "" : table.Render();
}

std::string WorstLinearsText(const v1::Report& report) {
  std::vector<const v1::LinearReport*> linears;
  for (const v1::LinearReport& linear : report.linears()) {
    if (linear.relative_error() > 0) linears.push_back(&linear);
  }
  std::stable_sort(linears.begin(), linears.end(), [](const v1::LinearReport* a, const v1::LinearReport* b) {
    return a->relative_error() > b->relative_error();
  });
  if (linears.size() > kWorst) linears.resize(kWorst);
  Table table({{"largest errors"},
               {"method"},
               {"relative error", Align::kRight},
               {"zeros", Align::kRight},
               {"bits", Align::kRight}});
  for (const v1::LinearReport* linear : linears) {
    table.Add({linear->name(), linear->method(), absl::StrFormat("%.5f", linear->relative_error()),
               FormatPercent(linear->sparsity()), absl::StrFormat("%.3f", linear->bits_per_weight())});
  }
  return table.empty() ? "" : table.Render();
}

}  // namespace calipress::cli
