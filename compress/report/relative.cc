#include "compress/report/relative.h"

#include <algorithm>
#include <cmath>

namespace calipress::report {

std::vector<DomainRelative> RelativeByDomain(
    const google::protobuf::RepeatedPtrField<v1::EvaluationResult>& evaluations,
    const google::protobuf::RepeatedPtrField<v1::TaskResult>& tasks) {
  std::vector<DomainRelative> domains;
  const auto of = [&](const std::string& domain) -> DomainRelative& {
    const auto found =
        std::find_if(domains.begin(), domains.end(), [&](const DomainRelative& one) { return one.domain == domain; });
    if (found != domains.end()) return *found;
    domains.emplace_back().domain = domain;
    return domains.back();
  };
  for (const v1::EvaluationResult& text : evaluations) {
    const double ratio = text.perplexity_original() / text.perplexity();
    if (!text.has_perplexity_original() || !std::isfinite(ratio)) continue;
    DomainRelative& domain = of(text.domain());
    domain.perplexity += ratio;
    ++domain.texts;
  }
  for (const v1::TaskResult& task : tasks) {
    const double ratio = task.accuracy() / task.accuracy_original();
    if (!task.has_accuracy_original() || !std::isfinite(ratio)) continue;
    DomainRelative& domain = of(task.domain());
    domain.accuracy += ratio;
    ++domain.tasks;
  }
  // A mean of one says nothing new.
  if (domains.size() == 1 && domains[0].tasks + domains[0].texts == 1) return {};
  for (DomainRelative& domain : domains) {
    domain.accuracy /= std::max(1, domain.tasks);
    domain.perplexity /= std::max(1, domain.texts);
  }
  return domains;
}

}  // namespace calipress::report
