#pragma once

#include <string>
#include <vector>

namespace calipress::report {

// From the smallest to the largest value that a chart shows. All finite.
struct Axis {
  double low = 0.0;
  double high = 1.0;
  bool logarithmic = false;
  std::vector<double> ticks;

  // 0 at `low`, 1 at `high`.
  double Place(double value) const;
};

// Round ends and about `ticks` round ticks; from zero where `from_zero` and nothing is below.
Axis LinearAxis(double least, double most, bool from_zero, int ticks);
// Of positive values: ends are 1, 2 or 5 times a power of ten, ticks powers of ten where two or more lie between.
Axis LogAxis(double least, double most);

// "0.02", "1e-05": as few digits as tell ticks apart.
std::string TickLabel(double value);

// The area of a chart in the units of its SVG, y downwards.
struct Plot {
  double left, top, width, height;
  double right() const { return left + width; }
  double bottom() const { return top + height; }
};

// "12.5": a coordinate.
std::string At(double coordinate);

std::string Line(double x1, double y1, double x2, double y2, const char* css);
// `text` is markup; css gives where it is anchored.
std::string Label(double x, double y, const std::string& text, const char* css);
// Lines and labels of the ticks of a vertical axis.
std::string VerticalTicks(const Axis& axis, const Plot& plot);
// Labels below the plot for whole numbers first..last: the ends and, where there is room, the middle.
std::string BlockLabels(int first, int last, const Plot& plot);

// An SVG that is as wide as its place; `title` is markup and is what a screen reader says.
std::string Svg(double width, double height, const std::string& title, const std::string& body);

}  // namespace calipress::report
