#include "compress/engine/generation_slots.h"

#include <algorithm>

namespace calipress::engine {

GenerationSlots::GenerationSlots(const calibration::GenerationRequest& request, int64_t first, int64_t count,
                                 int64_t groups, int64_t rows)
    : request_(request), first_(first), rows_(rows), ids_(count), predicted_(count), slots_(groups * rows) {
  for (Row& row : slots_) TakeNext(&row);
}

void GenerationSlots::TakeNext(Row* row) {
  row->sequence = -1;
  while (waiting_ < static_cast<int64_t>(ids_.size())) {
    const int64_t sequence = waiting_++;
    ids_[sequence] = request_.prompts[first_ + sequence];
    // One token that fills its sequence has nothing to come after it.
    if (request_.tokens < 2) continue;
    *row = Row{sequence, 0, 0, 0, RandomStream(request_.seed, request_.first_stream + first_ + sequence)};
    return;
  }
}

bool GenerationSlots::Active(int64_t group) const {
  for (int64_t r = 0; r < rows_; ++r) {
    if (row(group, r).sequence >= 0) return true;
  }
  return false;
}

std::vector<int64_t> GenerationSlots::Tokens(int64_t group) const {
  std::vector<int64_t> tokens(rows_, 0);
  for (int64_t r = 0; r < rows_; ++r) {
    const Row& one = row(group, r);
    if (one.sequence >= 0) tokens[r] = ids_[one.sequence][one.at];
  }
  return tokens;
}

std::vector<int64_t> GenerationSlots::Positions(int64_t group) const {
  std::vector<int64_t> positions(rows_, -1);
  for (int64_t r = 0; r < rows_; ++r) {
    const Row& one = row(group, r);
    if (one.sequence >= 0) positions[r] = one.at - one.begin;
  }
  return positions;
}

GenerationSlots::Next GenerationSlots::NextOf(int64_t group, int64_t index) const {
  const Row& one = row(group, index);
  Next next;
  next.sequence = one.sequence;
  if (one.sequence < 0) return next;
  const std::vector<int64_t>& ids = ids_[one.sequence];
  if (one.at + 1 < static_cast<int64_t>(ids.size())) next.known = ids[one.at + 1];
  next.text = std::span(ids).subspan(one.begin, one.at + 1 - one.begin);
  next.written = one.written;
  return next;
}

double GenerationSlots::Draw(int64_t group, int64_t index) { return slots_[group * rows_ + index].random.Uniform(); }

bool GenerationSlots::IsEnd(int64_t id) const {
  return std::find(request_.end_ids.begin(), request_.end_ids.end(), id) != request_.end_ids.end();
}

void GenerationSlots::AdvanceRow(Row* row, int64_t written) {
  std::vector<int64_t>& ids = ids_[row->sequence];
  ++predicted_[row->sequence];
  ++row->at;
  if (row->at == static_cast<int64_t>(ids.size())) {
    ids.push_back(written);
    ++row->written;
    ++written_;
    if (IsEnd(written)) {
      if (!request_.restart) return TakeNext(row);
      row->begin = row->at = static_cast<int64_t>(ids.size());
      row->written = 0;
      const std::vector<int64_t>& prompt = request_.prompts[first_ + row->sequence];
      const int64_t room = request_.tokens - row->at;
      ids.insert(ids.end(), prompt.begin(), prompt.begin() + std::min<int64_t>(room, prompt.size()));
    }
  }
  if (row->at + 1 >= request_.tokens) TakeNext(row);
}

void GenerationSlots::Advance(int64_t group, std::span<const int64_t> written) {
  for (int64_t r = 0; r < rows_; ++r) {
    Row& one = slots_[group * rows_ + r];
    if (one.sequence >= 0) AdvanceRow(&one, written[r]);
  }
}

}  // namespace calipress::engine
