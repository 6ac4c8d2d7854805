#include "compress/model/decode.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "compress/model/decode_rows.h"
#include "compress/model/gated.h"
#include "compress/model/linear.h"
#include "compress/model/rms_norm.h"
#include "compress/model/rotary.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::model {
namespace {

using arch::Role;

int64_t RoundUp(int64_t size, int64_t to) { return (size + to - 1) / to * to; }

GateKind KindOf(arch::Activation activation) {
  switch (activation) {
    case arch::Activation::kSilu:
      return GateKind::kSilu;
    case arch::Activation::kGelu:
      return GateKind::kGelu;
    case arch::Activation::kGeluTanh:
      return GateKind::kGeluTanh;
  }
  TORCH_CHECK(false, "unknown activation");
}

void GatePacks(GateKind kind, at::ScalarType dtype, DecodePack& gate, const DecodePack& up) {
  constexpr int64_t kFeatures = 64;
  const int64_t features = gate.groups * gate.features;
  tensor::ForEachItem((features + kFeatures - 1) / kFeatures, [&](int64_t item) {
    const int64_t at = item * kFeatures * kDecodeRows;
    const int64_t count = std::min(kFeatures * kDecodeRows, features * kDecodeRows - at);
    float* gates = gate.data.get() + at;
    const float* ups = up.data.get() + at;
    if (dtype == at::kBFloat16) return GateRow<uint16_t>(kind, gates, ups, count);
    if (dtype == at::kHalf) return GateRow<F16Bits>(kind, gates, ups, count);
    GateRow<float>(kind, gates, ups, count);
  });
}

struct Caches {
  at::Tensor keys;
  at::Tensor values;
};

// caches: of all groups, as the kernels lay them out.
template <typename T>
void AttendRows(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                std::span<const int64_t> groups, const std::vector<int64_t>& positions, int64_t window,
                const Caches& caches, at::Tensor& out) {
  const int64_t heads = query.size(1), kv_heads = key.size(1), dim = query.size(2);
  const int64_t capacity = caches.values.size(3), width = caches.values.size(4), times = heads / kv_heads;
  const T* queries = static_cast<const T*>(query.const_data_ptr());
  const T* new_keys = static_cast<const T*>(key.const_data_ptr());
  const T* new_values = static_cast<const T*>(value.const_data_ptr());
  T* keys = static_cast<T*>(caches.keys.mutable_data_ptr());
  T* values = static_cast<T*>(caches.values.mutable_data_ptr());
  T* outs = static_cast<T*>(out.mutable_data_ptr());
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  tensor::ForEachItem(static_cast<int64_t>(positions.size()) * kv_heads, [&](int64_t item) {
    const int64_t row = item / kv_heads, position = positions[row];
    if (position < 0) return;
    const int64_t group = groups[row / kDecodeRows];
    const int64_t place = (group * kDecodeRows + row % kDecodeRows) * kv_heads + item % kv_heads;
    T* cached_keys = keys + place * dim * capacity;
    T* cached_values = values + place * capacity * width;
    T* block = cached_keys + position / kKeyBlock * (kKeyBlock * dim) + position % kKeyBlock;
    for (int64_t d = 0; d < dim; ++d) block[d * kKeyBlock] = new_keys[item * dim + d];
    std::copy_n(new_values + item * dim, dim, cached_values + position * width);
    const int64_t begin = window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0;
    thread_local std::vector<float> scratch;
    scratch.resize(AttendScratch(capacity, width));
    AttendCached(CachedAttention<T>{queries + item * times * dim, cached_keys, cached_values,
                                    cached_keys + dim * capacity, times, dim, width, capacity, begin, position + 1,
                                    scale, scratch.data(), outs + item * times * dim});
  });
}

// The same by ATen, on any device. caches: of one group, as BlockDecoder's.
at::Tensor AttendByOperations(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                              std::span<const int64_t> positions, int64_t window, const Caches& caches) {
  const int64_t times = query.size(1) / key.size(1), dim = query.size(2);
  // Idle rows write to their first position, which the text that comes after them writes again.
  const at::Tensor at =
      at::tensor(at::ArrayRef<int64_t>(positions.data(), positions.size()), at::kLong).clamp_min(0).to(query.device());
  const at::Tensor rows = at::arange(kDecodeRows, at.options());
  const int64_t seen = *std::max_element(positions.begin(), positions.end()) + 1;
  caches.keys.permute({0, 3, 1, 2}).index_put_({rows, at}, key);
  caches.values.narrow(3, 0, dim).permute({0, 2, 1, 3}).index_put_({rows, at}, value);
  const at::Tensor keys = caches.keys.narrow(3, 0, std::max<int64_t>(seen, 1));
  const at::Tensor values = caches.values.narrow(2, 0, std::max<int64_t>(seen, 1)).narrow(3, 0, dim);
  const at::Tensor places = at::arange(keys.size(3), at.options()).unsqueeze(0);
  at::Tensor hidden = places > at.unsqueeze(1);
  if (window > 0) hidden = hidden.logical_or(places <= at.unsqueeze(1) - window);
  const at::Tensor grouped = query.view({kDecodeRows, key.size(1), times, dim}).to(at::kFloat);
  at::Tensor scores = at::matmul(grouped, keys.to(at::kFloat)).mul_(1.0 / std::sqrt(static_cast<double>(dim)));
  scores.masked_fill_(hidden.view({kDecodeRows, 1, 1, -1}), -std::numeric_limits<double>::infinity());
  // Values behind the mask were never written.
  const at::Tensor clean = values.to(at::kFloat).masked_fill_(hidden.view({kDecodeRows, 1, -1, 1}), 0.0);
  return at::matmul(at::softmax(scores, -1), clean).to(query.scalar_type()).view({kDecodeRows, -1});
}

}  // namespace

DecodePositions MakeDecodePositions(std::vector<int64_t> positions, const RotaryTable& table) {
  const at::Tensor rows = at::tensor(positions, at::kLong).clamp_min_(0).to(table.cos.device());
  RotaryTable rotary{table.cos.index_select(0, rows), table.sin.index_select(0, rows)};
  return {std::move(positions), std::move(rotary)};
}

BlockDecoder::BlockDecoder(const arch::ArchSpec& spec, Block block, int64_t groups, int64_t capacity)
    : spec_(spec),
      block_(std::move(block)),
      window_(spec.sliding_window.empty() ? 0 : spec.sliding_window.at(block_.index())),
      kernels_(CanDecode(block_.weight(Role::kQuery).scalar_type(), block_.weight(Role::kQuery).device())) {
  const at::TensorOptions options = block_.weight(Role::kQuery).options();
  const int64_t room = RoundUp(capacity, kKeyBlock), dim = spec.head_dim;
  keys_ = kernels_ ? at::empty({groups, kDecodeRows, spec.kv_heads, room / kKeyBlock, dim, kKeyBlock}, options)
                   : at::empty({groups, kDecodeRows, spec.kv_heads, dim, room}, options);
  values_ = at::empty({groups, kDecodeRows, spec.kv_heads, room, RoundUp(dim, kCacheRun)}, options);
}

int64_t BlockDecoder::CacheBytes(const arch::ArchSpec& spec, int64_t capacity) {
  return kDecodeRows * spec.kv_heads * RoundUp(capacity, kKeyBlock) *
         (spec.head_dim + RoundUp(spec.head_dim, kCacheRun)) * DtypeBytes(spec.dtype);
}

at::Tensor BlockDecoder::Attend(std::span<const int64_t> groups, const at::Tensor& query, const at::Tensor& key,
                                const at::Tensor& value, const std::vector<int64_t>& positions) {
  if (!kernels_) {
    std::vector<at::Tensor> outs;
    for (size_t i = 0; i < groups.size(); ++i) {
      const int64_t first = static_cast<int64_t>(i) * kDecodeRows;
      const Caches caches{keys_.select(0, groups[i]), values_.select(0, groups[i])};
      outs.push_back(AttendByOperations(query.narrow(0, first, kDecodeRows), key.narrow(0, first, kDecodeRows),
                                        value.narrow(0, first, kDecodeRows),
                                        std::span(positions).subspan(first, kDecodeRows), window_, caches));
    }
    return at::cat(outs);
  }
  const Caches caches{keys_, values_};
  at::Tensor out = at::zeros({query.size(0), query.size(1) * query.size(2)}, query.options());
  switch (query.scalar_type()) {
    case at::kFloat:
      AttendRows<float>(query, key, value, groups, positions, window_, caches, out);
      break;
    case at::kBFloat16:
      AttendRows<uint16_t>(query, key, value, groups, positions, window_, caches, out);
      break;
    default:
      AttendRows<F16Bits>(query, key, value, groups, positions, window_, caches, out);
  }
  return out;
}

at::Tensor BlockDecoder::AttentionOfStep(std::span<const int64_t> groups, at::Tensor query, at::Tensor key,
                                         const at::Tensor& value, const DecodePositions& positions) {
  query = query.view({-1, spec_.heads, spec_.head_dim});
  key = key.view({-1, spec_.kv_heads, spec_.head_dim});
  if (spec_.qk_norm) {
    RmsNormInPlace(query, block_.weight(Role::kQueryNorm), spec_.norm_eps);
    RmsNormInPlace(key, block_.weight(Role::kKeyNorm), spec_.norm_eps);
  }
  // Rows stand where positions of a sequence do: each has its own row of the table.
  at::Tensor queries = query.unsqueeze(0), keys = key.unsqueeze(0);
  ApplyRotary(queries, positions.rotary.cos, positions.rotary.sin);
  ApplyRotary(keys, positions.rotary.cos, positions.rotary.sin);
  return Attend(groups, queries.squeeze(0), keys.squeeze(0), value.view({-1, spec_.kv_heads, spec_.head_dim}),
                positions.positions);
}

at::Tensor BlockDecoder::Project(Role role, const at::Tensor& input) const {
  return Linear(input, block_.weight(role), block_.bias(role));
}

at::Tensor BlockDecoder::Step(std::span<const int64_t> groups, const at::Tensor& hidden,
                              const DecodePositions& positions) {
  const c10::NoGradGuard no_grad;
  TORCH_CHECK(hidden.size(0) == static_cast<int64_t>(groups.size()) * kDecodeRows &&
                  hidden.size(0) == static_cast<int64_t>(positions.positions.size()),
              "a step has ", kDecodeRows, " rows for each of its groups");
  const at::ScalarType dtype = hidden.scalar_type();
  const at::Tensor input = block_.AttentionInput(hidden);
  if (!kernels_) {
    const at::Tensor heads = AttentionOfStep(groups, Project(Role::kQuery, input), Project(Role::kKey, input),
                                             Project(Role::kValue, input), positions);
    const at::Tensor attended = block_.AddAttention(hidden, heads);
    return block_.AddMlp(attended, block_.MlpActivation(block_.MlpInput(attended)));
  }
  const auto multiply = [&](Role role, const DecodePack& pack) {
    return MultiplyRows(pack, block_.weight(role), block_.bias(role));
  };
  const DecodePack normed = PackRows(input);
  const at::Tensor heads = AttentionOfStep(groups, UnpackRows(multiply(Role::kQuery, normed), dtype),
                                           UnpackRows(multiply(Role::kKey, normed), dtype),
                                           UnpackRows(multiply(Role::kValue, normed), dtype), positions);
  const at::Tensor attended = UnpackRows(multiply(Role::kOutput, PackRows(heads)), dtype).add_(hidden);
  const DecodePack mlp = PackRows(block_.MlpInput(attended));
  DecodePack gate = multiply(Role::kGate, mlp);
  GatePacks(KindOf(spec_.activation), dtype, gate, multiply(Role::kUp, mlp));
  return UnpackRows(multiply(Role::kDown, gate), dtype).add_(attended);
}

}  // namespace calipress::model
