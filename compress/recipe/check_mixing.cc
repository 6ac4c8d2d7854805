#include <cmath>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/recipe/part_checks.h"

namespace calipress::recipe {
namespace {

std::string DomainList(const std::set<std::string>& domains) {
  return absl::StrJoin(domains, ", ",
                       [](std::string* out, const std::string& domain) { absl::StrAppend(out, "'", domain, "'"); });
}

}  // namespace

void CheckMixing(const v1::Calibration& calibration, const std::string& path, const Refuse& refuse) {
  std::set<std::string> domains, weighed;
  for (const v1::CalibrationSource& source : calibration.sources()) {
    domains.insert(source.domain().empty() ? kDefaultDomain : source.domain());
  }
  double sum = 0.0;
  for (int i = 0; i < calibration.mixing().weights_size(); ++i) {
    const v1::DomainWeight& entry = calibration.mixing().weights(i);
    const std::string field = absl::StrCat(path, ".weights[", i, "]");
    if (!domains.contains(entry.domain())) {
      refuse(absl::StrCat(field, ".domain"), absl::StrCat("'", entry.domain(), "' is the domain of no source; the ",
                                                          "sources' domains are ", DomainList(domains)));
    } else if (!weighed.insert(entry.domain()).second) {
      refuse(absl::StrCat(field, ".domain"), absl::StrCat("'", entry.domain(), "' has a weight already"));
    }
    if (!(std::isfinite(entry.weight()) && entry.weight() >= 0.0)) {
      refuse(absl::StrCat(field, ".weight"), absl::StrCat("must be 0 or more, not ", entry.weight()));
    } else {
      sum += entry.weight();
    }
  }
  for (const std::string& domain : domains) {
    if (weighed.contains(domain)) continue;
    refuse(absl::StrCat(path, ".weights"), absl::StrCat("has none for the domain '", domain,
                                                        "'; give every domain of the sources one (0 leaves it out)"));
  }
  if (!(sum > 0.0)) refuse(absl::StrCat(path, ".weights"), "sum to 0: nothing would be calibrated with; raise one");
}

}  // namespace calipress::recipe
