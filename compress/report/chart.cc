#include "compress/report/chart.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compress/report/html.h"

namespace calipress::report {
namespace {

// 1, 2 or 5 times a power of ten, at least `step`.
double RoundStep(double step) {
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= step * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

}  // namespace

double Axis::Place(double value) const {
  const double place = logarithmic ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
  return std::clamp(place, 0.0, 1.0);
}

Axis LinearAxis(double least, double most, bool from_zero, int ticks) {
  if (from_zero && least >= 0) least = 0;
  // A range that cannot be told from nothing gets one around its value.
  if (!(most - least > 1e-12 * std::max(std::abs(most), std::abs(least)))) {
    const double room = most == 0 ? 1 : std::abs(most) * 0.1;
    most += room;
    if (least != 0) least -= room;
  }
  const double step = RoundStep((most - least) / ticks);
  Axis axis;
  axis.low = std::floor(least / step + 1e-9) * step;
  axis.high = std::ceil(most / step - 1e-9) * step;
  const int count = static_cast<int>(std::lround((axis.high - axis.low) / step));
  for (int i = 0; i <= count; ++i) axis.ticks.push_back(axis.low + i * step);
  return axis;
}

Axis LogAxis(double least, double most) {
  Axis axis;
  axis.logarithmic = true;
  axis.high = RoundStep(most);
  // 1 / (1, 2 or 5 times a power) is 1, 5 or 2 times one.
  axis.low = std::min(1 / RoundStep(1 / least), axis.high / 10);
  const int first = static_cast<int>(std::ceil(std::log10(axis.low) - 1e-9));
  const int last = static_cast<int>(std::floor(std::log10(axis.high) + 1e-9));
  const int every = std::max(1, (last - first + 4) / 5);
  for (int power = first; power <= last; power += every) axis.ticks.push_back(std::pow(10.0, power));
  if (axis.ticks.size() < 2) axis.ticks = {axis.low, axis.high};
  return axis;
}

std::string TickLabel(double value) {
  if (!std::isfinite(value)) return kNone;
  return absl::StrFormat("%.6g", std::abs(value) < 1e-12 ? 0.0 : value);
}

std::string At(double coordinate) { return absl::StrFormat("%.1f", coordinate); }

std::string Line(double x1, double y1, double x2, double y2, const char* css) {
  return absl::StrCat("<line class=\"", css, "\" x1=\"", At(x1), "\" y1=\"", At(y1), "\" x2=\"", At(x2), "\" y2=\"",
                      At(y2), "\"/>");
}

std::string Label(double x, double y, const std::string& text, const char* css) {
  return absl::StrCat("<text class=\"", css, "\" x=\"", At(x), "\" y=\"", At(y), "\">", text, "</text>");
}

std::string VerticalTicks(const Axis& axis, const Plot& plot) {
  std::string svg;
  for (const double tick : axis.ticks) {
    const double y = plot.bottom() - axis.Place(tick) * plot.height;
    absl::StrAppend(&svg, Line(plot.left, y, plot.right(), y, "grid"),
                    Label(plot.left - 5, y + 3.5, TickLabel(tick), "tick end"));
  }
  return svg;
}

std::string BlockLabels(int first, int last, const Plot& plot) {
  const double y = plot.bottom() + 14;
  std::string svg = Label(plot.left, y, absl::StrCat(first), "tick mid");
  if (last > first) absl::StrAppend(&svg, Label(plot.right(), y, absl::StrCat(last), "tick mid"));
  const int middle = first + (last - first) / 2;
  if (last - first >= 4) {
    const double x = plot.left + plot.width * (middle - first) / (last - first);
    absl::StrAppend(&svg, Label(x, y, absl::StrCat(middle), "tick mid"));
  }
  return svg;
}

std::string Svg(double width, double height, const std::string& title, const std::string& body) {
  return absl::StrCat("<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 ", At(width), " ",
                      At(height), "\"><title>", title, "</title>", body, "</svg>\n");
}

}  // namespace calipress::report
