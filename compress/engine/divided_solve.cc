#include "compress/engine/divided_solve.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/byte_buffer.h"
#include "compress/engine/result_bytes.h"
#include "compress/engine/sample_share.h"

namespace calipress::engine {
namespace {

using method::LinearResult;
using method::LinearTask;

// Rows [first, first + count) of a task, on one rank.
struct Part {
  size_t task;
  int64_t first, count;
};

// What each rank does, in the order in which it does it.
using Division = std::vector<std::vector<Part>>;

Division ByRows(const std::vector<LinearTask>& tasks, int64_t unit, int ranks) {
  Division division(ranks);
  for (size_t task = 0; task < tasks.size(); ++task) {
    const int64_t rows = tasks[task].weight.size(0), units = (rows + unit - 1) / unit;
    for (int rank = 0; rank < ranks; ++rank) {
      const SampleShare share = ShareOf(units, rank, ranks);
      const int64_t first = share.first * unit, end = std::min(rows, (share.first + share.count) * unit);
      if (first < end) division[rank].push_back({task, first, end - first});
    }
  }
  return division;
}

// The largest first, each to the rank that has least.
Division ByLinears(const std::vector<LinearTask>& tasks, int ranks) {
  std::vector<size_t> order(tasks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto rows = [&](size_t task) { return tasks[task].weight.size(0); };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rows(a) > rows(b); });
  Division division(ranks);
  std::vector<int64_t> load(ranks, 0);
  for (const size_t task : order) {
    const auto rank = std::min_element(load.begin(), load.end()) - load.begin();
    load[rank] += rows(task);
    division[rank].push_back({task, 0, rows(task)});
  }
  return division;
}

LinearTask TaskOf(const LinearTask& whole, const Part& part) {
  if (part.count == whole.weight.size(0)) return whole;
  LinearTask task = whole;
  task.whole = whole.weight;
  task.weight = whole.weight.narrow(0, part.first, part.count);
  if (whole.pruned.defined()) task.pruned = whole.pruned.narrow(0, part.first, part.count);
  return task;
}

}  // namespace

absl::StatusOr<std::vector<LinearResult>> CompressDivided(const method::Method& method,
                                                          const std::vector<LinearTask>& tasks,
                                                          const method::InputStatistics* statistics,
                                                          collective::Group& group) {
  if (tasks.empty() || group.size() == 1) return method.Compress(tasks, statistics);
  const int64_t unit = method.row_unit();
  const Division division = unit > 0 ? ByRows(tasks, unit, group.size()) : ByLinears(tasks, group.size());

  std::vector<LinearTask> mine;
  for (const Part& part : division[group.rank()]) mine.push_back(TaskOf(tasks[part.task], part));
  std::vector<LinearResult> solved;
  if (!mine.empty()) {
    CALIPRESS_ASSIGN_OR_RETURN(solved, method.Compress(mine, statistics));
  }
  ByteWriter writer;
  for (const LinearResult& result : solved) PutResult(result, writer);
  const at::Device device = tasks.front().weight.device();
  CALIPRESS_ASSIGN_OR_RETURN(const auto gathered, GatherBytes(group, writer.bytes(), device));

  std::vector<std::vector<LinearResult>> parts(tasks.size());
  for (int rank = 0; rank < group.size(); ++rank) {
    ByteReader reader(gathered[rank], device);
    for (size_t i = 0; i < division[rank].size(); ++i) {
      auto& of_task = parts[division[rank][i].task];
      of_task.push_back(rank == group.rank() ? solved[i] : TakeResult(reader, device));
    }
    if (!reader.ok()) return DefectError("rank " + std::to_string(rank) + " sent results that cannot be read");
  }
  std::vector<LinearResult> results;
  results.reserve(parts.size());
  for (const auto& of_task : parts) results.push_back(JoinRows(of_task));
  return results;
}

}  // namespace calipress::engine
