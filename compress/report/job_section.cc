#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "compress/report/html.h"
#include "compress/report/recipe_text.h"
#include "compress/report/sections.h"
#include "compress/storage/object_store.h"

namespace calipress::report {
namespace {

// Labels that programs of this project put there.
constexpr char kOwnLabels[] = "calipress.dev/";
// Far past any recipe that people read.
constexpr size_t kShownYaml = 256 * 1024;

std::string TimeText(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixSeconds(time.seconds()), absl::UTCTimeZone());
}

}  // namespace

std::string JobSection(const v1::CompressionJob& job) {
  std::string facts;
  const auto fact = [&](const char* title, const std::string& value, bool path) {
    if (value.empty()) return;
    absl::StrAppend(&facts, "<dt>", title, "</dt><dd>", path ? "<span class=\"path\">" : "", Escaped(value),
                    path ? "</span>" : "", "</dd>\n");
  };
  fact("job", job.name(), true);
  fact("name", job.display_name(), false);
  fact("model", storage::RedactUri(job.model()), true);
  if (!job.output().empty()) fact("output", storage::RedactUri(job.output()), true);
  if (!job.recipe().evaluation().reference().empty()) {
    fact("compared with", storage::RedactUri(job.recipe().evaluation().reference()), true);
  }
  if (job.has_create_time()) fact("submitted", TimeText(job.create_time()), false);
  if (job.has_start_time()) fact("started", TimeText(job.start_time()), false);
  if (job.placement().workers() > 0) fact("workers", absl::StrCat(job.placement().workers()), false);
  fact("device", job.placement().device(), false);
  if (job.attempts_lost() + job.attempts_failed() > 0) {
    fact("attempts",
         absl::StrCat(job.attempt(), ", of which ", job.attempts_lost(), " lost a worker and ", job.attempts_failed(),
                      " failed"),
         false);
  }
  for (const auto& [key, value] : std::map<std::string, std::string>(job.labels().begin(), job.labels().end())) {
    if (key.rfind(kOwnLabels, 0) == 0) continue;
    absl::StrAppend(&facts, "<dt>label</dt><dd><span class=\"path\">", Escaped(key), ": ", Escaped(value),
                    "</span></dd>\n");
  }
  return Section("Job", absl::StrCat("<dl>\n", facts, "</dl>\n"));
}

std::string RecipeSection(const v1::CompressionJob& job) {
  std::string yaml = RecipeText(job.recipe());
  const bool cut = yaml.size() > kShownYaml;
  if (cut) yaml.resize(kShownYaml);
  return Section("Recipe", absl::StrCat("<p class=\"note\">With every default filled in, as in recipe.yaml.",
                                        cut ? " The first part of it." : "", "</p>\n<pre>", Escaped(yaml), "</pre>\n"));
}

}  // namespace calipress::report
