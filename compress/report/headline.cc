#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compress/base/units.h"
#include "compress/report/html.h"
#include "compress/report/sections.h"

namespace calipress::report {
namespace {

constexpr char kArrow[] = " \xE2\x86\x92 ";

std::string Tile(const std::string& figure, const std::string& label) {
  return absl::StrCat("<div class=\"tile\"><b>", figure, "</b><span>", label, "</span></div>\n");
}

}  // namespace

std::string Headline(const v1::Report& report) {
  std::string tiles;
  if (report.source_bytes() > 0 && report.output_bytes() > 0) {
    absl::StrAppend(&tiles,
                    Tile(absl::StrCat(FormatBytes(report.source_bytes()), kArrow, FormatBytes(report.output_bytes())),
                         absl::StrFormat("size, %.2f times smaller", static_cast<double>(report.source_bytes()) /
                                                                         static_cast<double>(report.output_bytes()))));
  }
  double bits = 0;
  for (const v1::LinearReport& linear : report.linears()) bits += linear.bits_per_weight();
  if (bits > 0) {
    absl::StrAppend(&tiles, Tile(Fixed(bits / report.linears_size(), 2), "bits per weight, mean of the linears"));
  }
  if (report.evaluations_size() > 0) {
    const v1::EvaluationResult& text = report.evaluations(0);
    const std::string label = absl::StrCat("perplexity, ", Escaped(text.name()));
    if (text.has_perplexity_original()) {
      absl::StrAppend(&tiles,
                      Tile(absl::StrCat(Fixed(text.perplexity_original(), 2), kArrow, Fixed(text.perplexity(), 2)),
                           absl::StrCat(label, ", ", Change(text.perplexity_original(), text.perplexity()))));
    } else {
      absl::StrAppend(&tiles, Tile(Fixed(text.perplexity(), 2), label));
    }
    if (text.has_kl_divergence()) {
      absl::StrAppend(&tiles,
                      Tile(Fixed(text.kl_divergence(), 4), absl::StrCat("KL divergence, ", Escaped(text.name()))));
    }
  } else if (report.tasks_size() > 0) {
    const v1::TaskResult& task = report.tasks(0);
    const std::string before =
        task.has_accuracy_original() ? absl::StrCat(Percent(task.accuracy_original()), kArrow) : "";
    absl::StrAppend(&tiles, Tile(before + Percent(task.accuracy()), absl::StrCat("accuracy, ", Escaped(task.name()))));
  }
  if (report.total_seconds() > 0) absl::StrAppend(&tiles, Tile(FormatSeconds(report.total_seconds()), "time"));
  if (report.peak_memory_bytes() > 0) {
    absl::StrAppend(&tiles, Tile(FormatBytes(report.peak_memory_bytes()), "peak memory of a worker"));
  }
  return tiles.empty() ? "" : absl::StrCat("<div class=\"tiles\">\n", tiles, "</div>\n");
}

}  // namespace calipress::report
