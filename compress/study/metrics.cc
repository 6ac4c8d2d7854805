#include "compress/study/metrics.h"

namespace calipress::study {

std::vector<Metric> MetricsOf(const v1::RunReport& run) {
  std::vector<Metric> metrics;
  for (const v1::EvaluationResult& text : run.evaluations()) {
    metrics.push_back({"perplexity " + text.name(), text.perplexity(), true});
    if (text.has_kl_divergence()) metrics.push_back({"KL " + text.name(), text.kl_divergence(), true});
    if (text.has_js_divergence()) metrics.push_back({"JS " + text.name(), text.js_divergence(), true});
    if (text.has_top1_agreement()) metrics.push_back({"top-1 agreement " + text.name(), text.top1_agreement(), false});
  }
  for (const v1::TaskResult& task : run.tasks()) {
    metrics.push_back({"accuracy " + task.name(), task.accuracy(), false});
    if (task.has_accuracy_normalized()) {
      metrics.push_back({"normalized accuracy " + task.name(), task.accuracy_normalized(), false});
    }
    if (task.has_perplexity()) metrics.push_back({"perplexity " + task.name(), task.perplexity(), true});
  }
  metrics.push_back({"relative error", run.relative_error(), true, /*comparable=*/false});
  return metrics;
}

}  // namespace calipress::study
