#include "compress/calibration/sampler.h"

#include <algorithm>
#include <cmath>

#include "compress/calibration/exponential_rows.h"

namespace calipress::calibration {
namespace {

constexpr double kLeastTemperature = 1e-6;

double Weigh(std::span<const float> scores, float largest, double temperature, std::vector<float>* weights) {
  weights->resize(scores.size());
  return Exponentials(scores, largest, static_cast<float>(1.0 / temperature), weights->data());
}

}  // namespace

double TemperatureOf(const GenerationRequest& request, int64_t token) {
  if (token >= request.schedule_tokens) return request.final_temperature;
  const double share = static_cast<double>(token) / static_cast<double>(request.schedule_tokens);
  return request.initial_temperature + share * (request.final_temperature - request.initial_temperature);
}

Sampler::Sampler(const GenerationRequest& request, int64_t vocabulary) : request_(request) {
  for (const int64_t id : request.first_ids) {
    if (id >= 0 && id < vocabulary) first_ids_.push_back(id);
  }
  std::sort(first_ids_.begin(), first_ids_.end());
}

void Sampler::KeepTopK(Workspace* workspace) const {
  auto& kept = workspace->kept;
  const auto k = static_cast<size_t>(request_.top_k);
  if (k == 0 || k >= kept.size()) return;
  const std::vector<float>& scores = workspace->scores;
  std::vector<float> values;
  values.reserve(kept.size());
  for (const int64_t id : kept) values.push_back(scores[id]);
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(k) - 1, values.end(), std::greater<float>());
  const float least = values[k - 1];
  std::erase_if(kept, [&](int64_t id) { return scores[id] < least; });
}

void Sampler::KeepTopP(Workspace* workspace) const {
  if (request_.top_p >= 1.0) return;
  auto& kept = workspace->kept;
  const std::vector<float>& weights = workspace->weights;
  const std::vector<float>& scores = workspace->scores;
  std::stable_sort(kept.begin(), kept.end(), [&](int64_t a, int64_t b) { return scores[a] < scores[b]; });
  double total = 0.0;
  for (const int64_t id : kept) total += weights[id];
  double sum = 0.0;
  size_t gone = 0;
  while (gone + 1 < kept.size()) {
    sum += weights[kept[gone]];
    if (sum > (1.0 - request_.top_p) * total) break;
    ++gone;
  }
  kept.erase(kept.begin(), kept.begin() + static_cast<int64_t>(gone));
  std::sort(kept.begin(), kept.end());
}

int64_t Sampler::Pick(std::span<const float> logits, std::span<const int64_t> text, int64_t token, double draw,
                      Workspace* workspace) const {
  if (!AllNumbers(logits)) return -1;
  std::vector<float>& scores = workspace->scores;
  if (token == 0 && !first_ids_.empty()) {
    scores.assign(logits.size(), kGone);
    for (const int64_t id : first_ids_) scores[id] = logits[id];
  } else {
    scores.assign(logits.begin(), logits.end());
  }
  if (request_.repetition_penalty != 1.0) {
    const float penalty = static_cast<float>(request_.repetition_penalty);
    for (const int64_t id : text) {
      // From the logit, so that an id that is there twice is weighed once.
      if (scores[id] != kGone) scores[id] = logits[id] < 0.0f ? logits[id] * penalty : logits[id] / penalty;
    }
  }
  const float largest = LargestScore(scores);
  if (!std::isfinite(largest)) return -1;
  const double temperature = TemperatureOf(request_, token);
  // Where dividing by it would overflow only the likeliest is left.
  if (temperature < kLeastTemperature) return std::find(scores.begin(), scores.end(), largest) - scores.begin();

  double total = Weigh(scores, largest, temperature, &workspace->weights);
  const std::vector<float>& weights = workspace->weights;
  if (request_.top_k == 0 && request_.top_p >= 1.0) {
    const double target = draw * total;
    double sum = 0.0;
    int64_t last = -1;
    for (size_t id = 0; id < weights.size(); ++id) {
      if (weights[id] == 0.0f) continue;
      sum += weights[id];
      last = static_cast<int64_t>(id);
      if (sum > target) return last;
    }
    return last;  // the sum in this order may end just below the total
  }
  std::vector<int64_t>& kept = workspace->kept;
  kept.clear();
  for (size_t id = 0; id < scores.size(); ++id) {
    if (scores[id] != kGone) kept.push_back(static_cast<int64_t>(id));
  }
  KeepTopK(workspace);
  KeepTopP(workspace);
  total = 0.0;
  for (const int64_t id : kept) total += weights[id];
  double sum = 0.0;
  for (const int64_t id : kept) {
    sum += weights[id];
    if (sum > draw * total) return id;
  }
  return kept.back();
}

double NegativeLogLikelihood(std::span<const float> logits, int64_t id, Sampler::Workspace* workspace) {
  const float largest = LargestScore(logits);
  const double total = Weigh(logits, largest, 1.0, &workspace->weights);
  return std::log(total) - (static_cast<double>(logits[id]) - static_cast<double>(largest));
}

}  // namespace calipress::calibration
