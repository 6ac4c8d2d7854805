#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "compress/report/chart.h"
#include "compress/report/html.h"
#include "compress/report/linear_grid.h"
#include "compress/report/sections.h"

namespace calipress::report {
namespace {

constexpr size_t kWorst = 10;
// Above this range small values would lie on the axis.
constexpr double kLogRange = 30;

// Away from the ends of what a double holds, at which an axis has no numbers left.
bool Shown(double value) { return value > 1e-300 && value < 1e300; }

// A panel for each kind, all with the same axes.
std::string ErrorPanels(const v1::Report& report) {
  const std::vector<LinearKind> kinds = LinearKinds(report);
  double least = INFINITY, most = 0;
  int first = INT32_MAX, last = 0;
  for (const LinearKind& kind : kinds) {
    for (const auto& [block, linear] : kind.by_block) {
      first = std::min(first, block);
      last = std::max(last, block);
      if (!Shown(linear->relative_error())) continue;
      least = std::min(least, linear->relative_error());
      most = std::max(most, linear->relative_error());
    }
  }
  if (most == 0) return "";
  const Axis axis = most / least > kLogRange ? LogAxis(least, most) : LinearAxis(least, most, /*from_zero=*/true, 4);
  const Plot plot{46, 8, 150, 96};
  std::string panels;
  for (const LinearKind& kind : kinds) {
    std::string points, dots;
    for (const auto& [block, linear] : kind.by_block) {
      if (!Shown(linear->relative_error())) continue;
      const double x = plot.left + (last > first ? plot.width * (block - first) / (last - first) : plot.width / 2);
      const double y = plot.bottom() - axis.Place(linear->relative_error()) * plot.height;
      absl::StrAppend(&points, At(x), ",", At(y), " ");
      absl::StrAppend(&dots, "<circle class=\"dot\" cx=\"", At(x), "\" cy=\"", At(y), "\" r=\"2.2\"><title>block ",
                      block, ": ", Fixed(linear->relative_error(), 5), "</title></circle>");
    }
    const std::string name = Escaped(kind.name);
    absl::StrAppend(&panels, "<figure><figcaption>", name, "</figcaption>",
                    Svg(206, 124, absl::StrCat("relative error of ", name, " by block"),
                        absl::StrCat(VerticalTicks(axis, plot), BlockLabels(first, last, plot),
                                     "<polyline class=\"path\" points=\"", points, "\"/>", dots)),
                    "</figure>\n");
  }
  return absl::StrCat(
      "<h3>Relative error by block</h3>\n<p class=\"note\">Of the output of each linear on the calibration data, tr(dW "
      "S "
      "dW\xE2\x80\xB2) / tr(W S W\xE2\x80\xB2); where no statistics were taken (rtn, magnitude) of its weights, "
      "|dW|\xC2\xB2 / |W|\xC2\xB2.",
      axis.logarithmic ? " The axis is logarithmic." : "", "</p>\n<div class=\"panels\">\n", panels, "</div>\n");
}

// Bars from zero, one for each block; a sentence where all are the same.
std::string Bars(const std::map<int, double>& values, const char* title, const char* unit, int digits) {
  double least = INFINITY, most = 0;
  for (const auto& [block, value] : values) {
    if (!std::isfinite(value)) return "";
    least = std::min(least, value);
    most = std::max(most, value);
  }
  if (values.empty() || most <= 0) return "";
  if (most - least < 1e-9) {
    return absl::StrCat("<p>", title, ": ", Fixed(most, digits), unit, " in every block.</p>\n");
  }
  const Axis axis = LinearAxis(least, most, /*from_zero=*/true, 4);
  const Plot plot{46, 8, 660, 120};
  const int first = values.begin()->first, last = values.rbegin()->first;
  const double pitch = plot.width / (last - first + 1);
  std::string bars;
  for (const auto& [block, value] : values) {
    const double height = axis.Place(value) * plot.height;
    absl::StrAppend(&bars, "<rect class=\"bar\" x=\"", At(plot.left + pitch * (block - first) + pitch * 0.15),
                    "\" y=\"", At(plot.bottom() - height), "\" width=\"", At(pitch * 0.7), "\" height=\"", At(height),
                    "\"><title>block ", block, ": ", Fixed(value, digits), unit, "</title></rect>");
  }
  const Plot middles{plot.left + pitch / 2, plot.top, plot.width - pitch, plot.height};
  return absl::StrCat("<h3>", title, " by block</h3>\n<figure class=\"wide\">",
                      Svg(714, 148, absl::StrCat(title, " by block"),
                          VerticalTicks(axis, plot) + bars + BlockLabels(first, last, middles)),
                      "</figure>\n");
}

std::string WorstTable(const v1::Report& report) {
  std::vector<const v1::LinearReport*> linears;
  for (const v1::LinearReport& linear : report.linears()) {
    if (Shown(linear.relative_error())) linears.push_back(&linear);
  }
  const size_t count = std::min(kWorst, linears.size());
  std::stable_sort(linears.begin(), linears.end(), [](const v1::LinearReport* a, const v1::LinearReport* b) {
    return a->relative_error() > b->relative_error();
  });
  HtmlTable table({{"linear"},
                   {"method"},
                   {"relative error", true},
                   {"damping", true},
                   {"dead columns", true},
                   {"zeros", true},
                   {"bits per weight", true}});
  for (size_t i = 0; i < count; ++i) {
    const v1::LinearReport& linear = *linears[i];
    table.Add({absl::StrCat("<span class=\"path\">", Escaped(linear.name()), "</span>"), Escaped(linear.method()),
               Fixed(linear.relative_error(), 5), linear.damping() > 0 ? TickLabel(linear.damping()) : kNone,
               Grouped(linear.dead_columns()), Percent(linear.sparsity()), Fixed(linear.bits_per_weight(), 3)});
  }
  if (table.empty()) return "";
  return absl::StrCat("<h3>Largest errors</h3>\n", table.Render());
}

}  // namespace

std::string LinearsSection(const v1::Report& report) {
  if (report.linears_size() == 0) return "";
  const auto bits = MeanByBlock(report, [](const v1::LinearReport& linear) { return linear.bits_per_weight(); });
  const auto zeros = MeanByBlock(report, [](const v1::LinearReport& linear) { return 100 * linear.sparsity(); });
  std::string body = ErrorPanels(report) + WorstTable(report) +
                     Bars(bits, "Bits per weight, mean of the linears", "", 3) +
                     Bars(zeros, "Zeros, mean of the linears", " %", 1);
  if (body.empty()) return "";
  return Section("Linears", absl::StrCat("<p>", report.linears_size(), " linears were compressed.</p>\n", body));
}

}  // namespace calipress::report
