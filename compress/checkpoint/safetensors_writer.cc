#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {

int64_t TensorBytes(const TensorPlan& plan) {
  int64_t bytes = DtypeBytes(plan.dtype);
  for (const int64_t size : plan.shape) bytes *= size;
  return bytes;
}

struct SafetensorsWriter::State {
  std::unique_ptr<storage::ObjectWriter> writer;
  std::vector<TensorPlan> plan;
  size_t current = 0;   // tensor that the next byte belongs to
  int64_t missing = 0;  // its bytes that are still to come
  int64_t file_bytes = 0;
  Sha256 sha;
  std::string digest;

  // Moves on from tensors that are full (or empty by shape).
  void Settle() {
    while (current < plan.size() && missing == 0) {
      ++current;
      if (current < plan.size()) missing = TensorBytes(plan[current]);
    }
  }

  absl::Status Put(const void* data, int64_t bytes) {
    sha.Update(data, static_cast<size_t>(bytes));
    file_bytes += bytes;
    return writer->Write(data, bytes);
  }
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsWriter::~SafetensorsWriter() = default;

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(storage::ObjectStore& store,
                                                                             const std::string& uri,
                                                                             std::vector<TensorPlan> plan) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  int64_t offset = 0;
  for (const TensorPlan& tensor : plan) {
    if (header.contains(tensor.name)) return DefectError("a file was planned with " + tensor.name + " twice");
    const int64_t end = offset + TensorBytes(tensor);
    header[tensor.name] = {
        {"dtype", DtypeName(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  auto state = std::make_unique<State>();
  CALIPRESS_ASSIGN_OR_RETURN(state->writer, store.Create(uri));
  state->plan = std::move(plan);
  if (!state->plan.empty()) state->missing = TensorBytes(state->plan[0]);
  state->Settle();
  std::string head;
  for (int i = 0; i < 8; ++i) head += static_cast<char>(text.size() >> (8 * i) & 0xff);
  CALIPRESS_RETURN_IF_ERROR(state->Put(head.data(), 8));
  CALIPRESS_RETURN_IF_ERROR(state->Put(text.data(), static_cast<int64_t>(text.size())));
  return std::unique_ptr<SafetensorsWriter>(new SafetensorsWriter(std::move(state)));
}

absl::Status SafetensorsWriter::Append(const void* data, int64_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    if (state_->current >= state_->plan.size()) return DefectError("more bytes were written than planned");
    const int64_t take = std::min(bytes, state_->missing);
    CALIPRESS_RETURN_IF_ERROR(state_->Put(next, take));
    state_->missing -= take;
    next += take;
    bytes -= take;
    state_->Settle();
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Close() {
  if (state_->current < state_->plan.size()) {
    return DefectError("a file was closed before " + state_->plan[state_->current].name + " was complete");
  }
  CALIPRESS_RETURN_IF_ERROR(state_->writer->Close());
  state_->digest = state_->sha.Finish();
  return absl::OkStatus();
}

const std::string& SafetensorsWriter::sha256() const { return state_->digest; }
int64_t SafetensorsWriter::file_bytes() const { return state_->file_bytes; }

}  // namespace calipress::checkpoint
