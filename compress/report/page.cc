#include "compress/report/page.h"

#include "absl/strings/str_cat.h"
#include "compress/base/version.h"
#include "compress/report/html.h"
#include "compress/report/sections.h"
#include "compress/storage/object_store.h"

namespace calipress::report {
namespace {

// The last part of a path or URI: what people call a model.
std::string LastPart(const std::string& uri) {
  std::string path = storage::RedactUri(uri);
  path = path.substr(0, path.find('?'));
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::string part = path.substr(path.rfind('/') + 1);
  return part.empty() ? path : part;
}

std::string MethodsOf(const v1::Recipe& recipe) {
  std::string methods;
  for (const v1::Step& step : recipe.steps()) {
    const auto* oneof = v1::Step::descriptor()->FindOneofByName("method");
    const auto* field = step.GetReflection()->GetOneofFieldDescriptor(step, oneof);
    if (field != nullptr) absl::StrAppend(&methods, methods.empty() ? "" : " + ", field->name());
  }
  return methods;
}

std::string Subtitle(const v1::CompressionJob& job) {
  if (job.recipe().has_study()) return "a study of calibration data";
  const std::string methods = MethodsOf(job.recipe());
  return methods.empty() ? "evaluated" : absl::StrCat("compressed with ", methods);
}

}  // namespace

std::string ReportPage(const v1::CompressionJob& job, const v1::Report& report) {
  const std::string model = Escaped(LastPart(job.model()));
  // The policy holds what the page promises: no script, and nothing from elsewhere.
  return absl::StrCat(
      "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\" />\n"
      "<title>",
      model, ": calipress report</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n<main>\n<h1>", model,
      "</h1>\n<p class=\"soft\">", Subtitle(job), "</p>\n", Headline(report), QualitySection(report),
      WarningsSection(report), StudySection(report.study()), LinearsSection(report),
      CalibrationSection(report.calibration()), PhasesSection(report), JobSection(job), RecipeSection(job),
      "<footer>calipress ", std::string(kVersion), " (", Escaped(BuildRevision()),
      ")</footer>\n</main>\n</body>\n</html>\n");
}

}  // namespace calipress::report
