#include "compress/engine/mixing_plan.h"

#include <algorithm>
#include <map>
#include <string>

namespace calipress::engine {

int MixingPlan::DomainOf(int64_t sequence) const {
  for (const Span& span : spans) {
    if (sequence < span.sequences) return span.domain;
    sequence -= span.sequences;
  }
  return 0;
}

MixingPlan MakeMixingPlan(const v1::Calibration& calibration, const std::vector<int64_t>& sequences) {
  MixingPlan plan;
  if (!calibration.has_mixing()) return plan;
  plan.normalize_trace = calibration.mixing().normalize_trace();
  std::map<std::string, int> domains;
  double sum = 0.0;
  for (int i = 0; i < calibration.sources_size(); ++i) {
    const std::string& name = calibration.sources(i).domain();
    const auto [found, added] = domains.emplace(name, static_cast<int>(domains.size()));
    if (added) {
      const auto& weights = calibration.mixing().weights();
      const auto entry = std::find_if(weights.begin(), weights.end(),
                                      [&](const v1::DomainWeight& candidate) { return candidate.domain() == name; });
      plan.weights.push_back(entry == weights.end() ? 0.0 : entry->weight());
      sum += plan.weights.back();
    }
    plan.spans.push_back({sequences.at(i), found->second});
  }
  for (double& weight : plan.weights) weight = sum > 0.0 ? weight / sum : 0.0;
  return plan;
}

}  // namespace calipress::engine
