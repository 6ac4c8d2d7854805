#include "client/cli/output/report_details.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output/table.h"
#include "client/cli/output/text.h"
#include "compress/base/units.h"
#include "compress/report/study_values.h"
#include "compress/storage/object_store.h"

namespace calipress::cli {
namespace {

using Align = Table::Align;

std::string Figure(double value) { return absl::StrFormat("%.4f", value); }

template <typename Entry>
std::string Weight(const Entry& entry) {
  return entry.has_domain_weight() ? absl::StrFormat("%g", entry.domain_weight()) : "-";
}

std::string RunsText(const v1::StudyReport& study) {
  Table table({{"run"}, {"relative error", Align::kRight}, {"time", Align::kRight}, {"failed"}});
  for (const v1::RunReport& run : study.runs()) {
    table.Add({run.name(), Figure(run.relative_error()), FormatSeconds(run.seconds()), run.error()});
  }
  return table.empty() ? "" : table.Render();
}

std::string StatisticsText(const v1::StudyReport& study) {
  Table table({{"metric"},
               {"method"},
               {"source"},
               {"weight", Align::kRight},
               {"draws", Align::kRight},
               {"mean", Align::kRight},
               {"deviation", Align::kRight},
               {"least", Align::kRight},
               {"most", Align::kRight},
               {"range", Align::kRight}});
  for (const v1::StudyStatistic& one : study.statistics()) {
    table.Add({one.metric(), one.method(), one.source(), Weight(one), absl::StrCat(one.draws()), Figure(one.mean()),
               Figure(one.standard_deviation()), Figure(one.min()), Figure(one.max()), Figure(one.range())});
  }
  return table.empty() ? "" : table.Render();
}

std::string ComparisonsText(const v1::StudyReport& study) {
  Table table({{"metric"},
               {"source"},
               {"weight", Align::kRight},
               {"method"},
               {"better than"},
               {"in", Align::kRight},
               {"of draws", Align::kRight}});
  for (const v1::StudyComparison& one : study.comparisons()) {
    table.Add({one.metric(), one.source(), Weight(one), one.method(), one.other(), FormatPercent(one.share_better()),
               absl::StrCat(one.draws())});
  }
  return table.empty() ? "" : table.Render();
}

std::string CalibrationSetsText(const v1::StudyReport& study) {
  Table table({{"calibration"},
               {"draw", Align::kRight},
               {"sequences", Align::kRight},
               {"tokens", Align::kRight},
               {"perplexity", Align::kRight},
               {"of tokens", Align::kRight},
               {"repetition", Align::kRight},
               {"vocabulary", Align::kRight},
               {"ids"}});
  for (const v1::RunReport* run : report::RunsOfSets(study)) {
    const v1::CalibrationReport& set = run->calibration();
    table.Add({run->source(), absl::StrCat(run->draw()), absl::StrCat(set.sequences()), absl::StrCat(set.tokens()),
               set.has_perplexity() ? FormatPerplexity(set.perplexity()) : "-", absl::StrCat(set.scored_tokens()),
               FormatPercent(set.repetition()), FormatPercent(set.vocabulary_coverage()),
               set.fingerprint().substr(0, 12)});
  }
  return table.empty() ? "" : table.Render();
}

}  // namespace

std::string CalibrationFactsText(const v1::CalibrationReport& calibration) {
  if (calibration.tokens() <= 0) return "";
  Table facts({{"calibration"}, {""}});
  if (calibration.has_perplexity()) {
    facts.Add({"perplexity", absl::StrCat(FormatPerplexity(calibration.perplexity()), " on ",
                                          calibration.scored_tokens(), " of ", calibration.tokens(), " tokens")});
  }
  if (calibration.repetition() > 0) facts.Add({"repetition", FormatPercent(calibration.repetition())});
  if (calibration.vocabulary_coverage() > 0) {
    facts.Add({"vocabulary coverage", FormatPercent(calibration.vocabulary_coverage())});
  }
  if (calibration.ngram_diversity() > 0) facts.Add({"n-gram diversity", Figure(calibration.ngram_diversity())});
  if (calibration.zipf_exponent() != 0) facts.Add({"Zipf exponent", Figure(calibration.zipf_exponent())});
  if (calibration.generated_tokens() > 0) {
    facts.Add({"generated tokens",
               absl::StrCat(calibration.generated_tokens(), " in ", FormatSeconds(calibration.generation_seconds()))});
  }
  if (!calibration.fingerprint().empty()) facts.Add({"SHA-256 of the ids", calibration.fingerprint()});
  Table parts({{"source"},
               {"domain"},
               {"sequences", Align::kRight},
               {"tokens", Align::kRight},
               {"documents", Align::kRight},
               {"filtered", Align::kRight},
               {"seed", Align::kRight},
               {"from"}});
  for (const v1::CalibrationPart& part : calibration.parts()) {
    parts.Add({part.kind(), part.domain(), absl::StrCat(part.sequences()), absl::StrCat(part.tokens()),
               absl::StrCat(part.documents()), absl::StrCat(part.filtered()), absl::StrCat(part.seed()),
               storage::RedactUri(part.uri())});
  }
  std::string text = facts.empty() ? "" : facts.Render();
  if (!parts.empty()) absl::StrAppend(&text, text.empty() ? "" : "\n", parts.Render());
  return text;
}

std::string StudyText(const v1::StudyReport& study) {
  std::string text;
  for (const std::string& part :
       {StatisticsText(study), ComparisonsText(study), RunsText(study), CalibrationSetsText(study)}) {
    if (!part.empty()) absl::StrAppend(&text, text.empty() ? "" : "\n", part);
  }
  if (study.has_repeat_equal()) {
    absl::StrAppend(&text, "a run, done twice, gave ", study.repeat_equal() ? "the same" : "other", " bytes\n");
  }
  if (study.has_uncalibrated_equal()) {
    absl::StrAppend(&text, "methods that take no calibration data gave ",
                    study.uncalibrated_equal() ? "the same" : "other", " bytes for every draw\n");
  }
  for (const v1::RunReport& run : study.runs()) {
    if (run.checkpoint().empty()) continue;
    const std::string place = run.checkpoint() == "." ? "the output itself" : run.checkpoint();
    absl::StrAppend(&text, "kept      ", OneLine(run.name()), " (", OneLine(place), ")\n");
  }
  return text;
}

}  // namespace calipress::cli
