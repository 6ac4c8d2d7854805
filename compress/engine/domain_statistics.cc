#include "compress/engine/domain_statistics.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/cat.h>
#include <ATen/ops/maximum.h>

namespace calipress::engine {
namespace {

double MeanSquare(const method::InputStatistics& statistics) {
  if (!statistics.square_sum.defined() || statistics.tokens == 0) return 1.0;
  return statistics.square_sum.mean().item<double>() / static_cast<double>(statistics.tokens);
}

// What a domain's sums are multiplied by: those of squares, and those of the inputs themselves.
struct Factor {
  double squares = 0.0;
  double inputs = 0.0;
};

std::vector<Factor> Factors(const std::vector<method::InputStatistics>& domains, const MixingPlan& plan) {
  int64_t tokens = 0;
  double mean_square = 0.0, weight = 0.0;
  std::vector<double> squares;
  for (size_t k = 0; k < domains.size(); ++k) {
    tokens += domains[k].tokens;
    squares.push_back(plan.normalize_trace ? MeanSquare(domains[k]) : 1.0);
    if (domains[k].tokens == 0) continue;
    mean_square += plan.weights[k] * squares[k];
    weight += plan.weights[k];
  }
  std::vector<Factor> factors(domains.size());
  for (size_t k = 0; k < domains.size(); ++k) {
    const bool counts = domains[k].tokens > 0 && squares[k] > 0.0 && weight > 0.0;
    if (!counts) continue;
    const double share =
        plan.weights[k] / weight * static_cast<double>(tokens) / static_cast<double>(domains[k].tokens);
    // As if the domain's inputs were scaled by the root.
    const double scale = mean_square / weight / squares[k];
    factors[k] = {share * scale, share * std::sqrt(scale)};
  }
  return factors;
}

}  // namespace

DomainStatistics::DomainStatistics(int64_t features, const method::StatisticsNeeds& needs, const MixingPlan& plan,
                                   const SetPosition& position, at::Device device)
    : plan_(plan), next_(position.first_sequence) {
  method::StatisticsNeeds all = needs;
  // The mean squares come from it.
  if (plan.mixes() && plan.normalize_trace) all.square_sum = true;
  for (int k = 0; k < plan.domains(); ++k) {
    domains_.push_back(std::make_unique<InputAccumulator>(features, all, position.all_tokens, device,
                                                          position.first_sequence * position.length));
  }
}

void DomainStatistics::Add(const at::Tensor& activations) {
  if (!plan_.mixes()) return domains_[0]->Add(activations);
  const int64_t count = activations.size(0);
  for (int64_t first = 0; first < count;) {
    const int domain = plan_.DomainOf(next_ + first);
    int64_t end = first + 1;
    while (end < count && plan_.DomainOf(next_ + end) == domain) ++end;
    domains_[domain]->Add(activations.narrow(0, first, end - first));
    first = end;
  }
  next_ += count;
}

std::vector<method::InputStatistics> DomainStatistics::Take() {
  std::vector<method::InputStatistics> taken;
  taken.reserve(domains_.size());
  for (auto& domain : domains_) taken.push_back(domain->Take());
  return taken;
}

std::vector<method::InputStatistics> Copies(const std::vector<method::InputStatistics>& domains) {
  std::vector<method::InputStatistics> copies = domains;
  for (method::InputStatistics& copy : copies) {
    for (at::Tensor* tensor : {&copy.second_moment, &copy.square_sum, &copy.absolute_sum, &copy.absolute_max, &copy.sum,
                               &copy.variance_sum, &copy.sample}) {
      if (tensor->defined()) *tensor = tensor->clone();
    }
  }
  return copies;
}

method::InputStatistics Mix(std::vector<method::InputStatistics> domains, const MixingPlan& plan) {
  if (!plan.mixes()) return std::move(domains.front());
  const std::vector<Factor> factors = Factors(domains, plan);
  method::InputStatistics mixed;
  const auto add = [&](at::Tensor& sum, at::Tensor& part, double factor) {
    if (!part.defined()) return;
    if (sum.defined()) {
      sum.add_(part, factor);
    } else {
      sum = part.mul_(factor);
    }
  };
  std::vector<at::Tensor> samples;
  for (size_t k = 0; k < domains.size(); ++k) {
    method::InputStatistics& domain = domains[k];
    add(mixed.second_moment, domain.second_moment, factors[k].squares);
    add(mixed.square_sum, domain.square_sum, factors[k].squares);
    add(mixed.absolute_sum, domain.absolute_sum, factors[k].inputs);
    add(mixed.sum, domain.sum, factors[k].inputs);
    add(mixed.variance_sum, domain.variance_sum, factors[k].squares);
    // One matrix at a time is more than enough.
    domain.second_moment = at::Tensor();
    if (domain.absolute_max.defined() && factors[k].squares > 0.0) {
      mixed.absolute_max =
          mixed.absolute_max.defined() ? at::maximum(mixed.absolute_max, domain.absolute_max) : domain.absolute_max;
    }
    if (domain.sample.defined() && factors[k].squares > 0.0) samples.push_back(domain.sample);
    mixed.tokens += domain.tokens;
    mixed.sequences += domain.sequences;
  }
  if (!samples.empty()) mixed.sample = at::cat(samples);
  return mixed;
}

}  // namespace calipress::engine
