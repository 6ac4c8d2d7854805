#include "compress/checkpoint/shard_plan.h"

#include <algorithm>
#include <cstdio>
#include <set>

namespace calipress::checkpoint {
namespace {

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// Tensors that a loader computes or ties itself.
bool IsDerived(const arch::ArchSpec& spec, const std::string& name) {
  return EndsWith(name, "rotary_emb.inv_freq") ||
         (spec.tied_embeddings && name == std::string(arch::HeadModule(spec)) + ".weight");
}

std::vector<PlannedTensor> AllTensors(const arch::ArchSpec& spec, const ModelReader& reader,
                                      const std::vector<std::vector<TensorPlan>>& blocks,
                                      const std::function<Dtype(Dtype)>& stored,
                                      const std::set<std::string>& replaced) {
  std::vector<PlannedTensor> all, tail;
  std::set<std::string> known = replaced;
  auto source = [&](const std::string& name, std::vector<PlannedTensor>* to) {
    const TensorInfo* info = reader.Find(name);
    if (info != nullptr) to->push_back({{info->name, stored(info->dtype), info->shape}, -1});
  };
  for (const auto& outer : arch::OuterTensors(spec)) {
    known.insert(outer.name);
    source(outer.name, outer.role == arch::Role::kEmbedding ? &all : &tail);
  }
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (const auto& tensor : arch::BlockTensors(spec, block)) known.insert(tensor.name);
    for (const auto& tensor : blocks[block]) all.push_back({tensor, block});
  }
  all.insert(all.end(), tail.begin(), tail.end());
  for (const auto& tensor : reader.tensors()) {
    if (!known.contains(tensor.name) && !IsDerived(spec, tensor.name)) source(tensor.name, &all);
  }
  return all;
}

// Loaders that map a file want each number on a multiple of its size. Where the order of blocks breaks that (an odd
// number of SpQR's outliers), the shard goes by size of number, the largest first: then it holds by itself.
void Align(std::vector<PlannedTensor>& tensors) {
  int64_t offset = 0;
  bool aligned = true;
  for (const PlannedTensor& planned : tensors) {
    aligned = aligned && offset % DtypeBytes(planned.tensor.dtype) == 0;
    offset += TensorBytes(planned.tensor);
  }
  if (aligned) return;
  std::stable_sort(tensors.begin(), tensors.end(), [](const PlannedTensor& a, const PlannedTensor& b) {
    return DtypeBytes(a.tensor.dtype) > DtypeBytes(b.tensor.dtype);
  });
}

}  // namespace

std::vector<PlannedShard> PlanShards(const arch::ArchSpec& spec, const ModelReader& source,
                                     const std::vector<std::vector<TensorPlan>>& blocks, int64_t limit,
                                     const std::function<Dtype(Dtype)>& stored, const std::set<std::string>& replaced) {
  std::vector<PlannedShard> shards;
  int64_t filled = 0;
  for (auto& planned : AllTensors(spec, source, blocks, stored, replaced)) {
    const int64_t bytes = TensorBytes(planned.tensor);
    if (shards.empty() || (filled > 0 && filled + bytes > limit)) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().tensors.push_back(std::move(planned));
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    Align(shards[i].tensors);
    char name[64] = "model.safetensors";
    if (shards.size() > 1) {
      std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    }
    shards[i].file = name;
  }
  return shards;
}

}  // namespace calipress::checkpoint
