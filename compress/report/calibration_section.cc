#include "absl/strings/str_cat.h"
#include "compress/base/units.h"
#include "compress/report/html.h"
#include "compress/report/sections.h"
#include "compress/storage/object_store.h"

namespace calipress::report {

std::string CalibrationSection(const v1::CalibrationReport& calibration) {
  if (calibration.tokens() <= 0) return "";
  std::string facts;
  const auto fact = [&](const char* title, const std::string& value) {
    absl::StrAppend(&facts, "<dt>", title, "</dt><dd>", value, "</dd>\n");
  };
  fact("tokens", absl::StrCat(Grouped(calibration.tokens()), " in ", Grouped(calibration.sequences()), " sequences of ",
                              Grouped(calibration.sequence_length())));
  if (calibration.has_perplexity()) {
    fact("perplexity", absl::StrCat(Fixed(calibration.perplexity(), 4), " under the original model, on ",
                                    Grouped(calibration.scored_tokens()), " of the tokens"));
  }
  if (calibration.repetition() > 0) {
    fact("repetition",
         absl::StrCat(Percent(calibration.repetition()), " of the tokens stand earlier in their sequence"));
  }
  if (calibration.vocabulary_coverage() > 0) {
    fact("vocabulary", absl::StrCat(Percent(calibration.vocabulary_coverage()), " of the ids occur"));
  }
  if (calibration.ngram_diversity() > 0) {
    fact("n-gram diversity",
         absl::StrCat(Fixed(calibration.ngram_diversity(), 4), " distinct by all, mean over n = 1 to 4"));
  }
  if (calibration.zipf_exponent() != 0) fact("Zipf exponent", Fixed(calibration.zipf_exponent(), 4));
  if (calibration.generated_tokens() > 0) {
    fact("generated", absl::StrCat(Grouped(calibration.generated_tokens()), " tokens by the model in ",
                                   FormatSeconds(calibration.generation_seconds())));
  }
  if (!calibration.ids_file().empty()) {
    fact("ids", absl::StrCat("<span class=\"path\">", Escaped(calibration.ids_file()), "</span>"));
  }
  if (!calibration.fingerprint().empty()) {
    fact("SHA-256", absl::StrCat("<span class=\"path\">", Escaped(calibration.fingerprint()), "</span>"));
  }
  HtmlTable parts({{"source"},
                   {"domain"},
                   {"from"},
                   {"sequences", true},
                   {"tokens", true},
                   {"documents", true},
                   {"filtered out", true},
                   {"seed", true}});
  for (const v1::CalibrationPart& part : calibration.parts()) {
    parts.Add({Escaped(part.kind()), Escaped(part.domain()),
               absl::StrCat("<span class=\"path\">", Escaped(storage::RedactUri(part.uri())), "</span>"),
               Grouped(part.sequences()), Grouped(part.tokens()), Grouped(part.documents()), Grouped(part.filtered()),
               absl::StrCat(part.seed())});
  }
  return Section("Calibration data", absl::StrCat("<dl>\n", facts, "</dl>\n", parts.Render()));
}

}  // namespace calipress::report
