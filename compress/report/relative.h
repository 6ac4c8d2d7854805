#pragma once

#include <string>
#include <vector>

#include "calipress/v1/report.pb.h"

namespace calipress::report {

// What a compressed model keeps in one domain: the mean, each task and text counting the same, of compressed / original
// accuracies (choices by their log probability) and of original / compressed perplexities of texts. Ratios that are not
// finite are left out.
struct DomainRelative {
  std::string domain;
  double accuracy = 0.0;
  int tasks = 0;  // 0: no accuracy
  double perplexity = 0.0;
  int texts = 0;  // 0: no perplexity
};

// By domain, in the order in which domains first come; empty where nothing, or one figure alone, is compared.
std::vector<DomainRelative> RelativeByDomain(
    const google::protobuf::RepeatedPtrField<v1::EvaluationResult>& evaluations,
    const google::protobuf::RepeatedPtrField<v1::TaskResult>& tasks);

}  // namespace calipress::report
