#include "compress/engine/oracle_command.h"

#include <utility>

#include <ATen/ops/tensor.h>

#include "compress/base/error.h"
#include "compress/engine/byte_buffer.h"

namespace calipress::engine {
namespace {

void PutIds(const std::vector<int64_t>& ids, ByteWriter* writer) { writer->PutTensor(at::tensor(ids, at::kLong)); }

std::vector<int64_t> TakeIds(ByteReader* reader) {
  const at::Tensor ids = reader->TakeTensor();
  if (!ids.defined()) return {};
  const int64_t* data = ids.const_data_ptr<int64_t>();
  return std::vector<int64_t>(data, data + ids.numel());
}

void PutLists(const std::vector<std::vector<int64_t>>& lists, ByteWriter* writer) {
  writer->Put<int64_t>(static_cast<int64_t>(lists.size()));
  for (const auto& list : lists) PutIds(list, writer);
}

std::vector<std::vector<int64_t>> TakeLists(ByteReader* reader) {
  std::vector<std::vector<int64_t>> lists;
  for (int64_t left = reader->Take<int64_t>(); left > 0 && reader->ok(); --left) lists.push_back(TakeIds(reader));
  return lists;
}

}  // namespace

std::string ToBytes(const OracleCommand& command) {
  ByteWriter writer;
  writer.Put(command.kind);
  switch (command.kind) {
    case OracleCommand::Kind::kGenerate: {
      const calibration::GenerationRequest& request = command.request;
      writer.Put(request.sequences);
      writer.Put(request.seed);
      writer.Put(request.first_stream);
      PutLists(request.prompts, &writer);
      writer.Put(request.tokens);
      writer.Put(request.initial_temperature);
      writer.Put(request.final_temperature);
      writer.Put(request.schedule_tokens);
      writer.Put(request.top_k);
      writer.Put(request.top_p);
      writer.Put(request.repetition_penalty);
      PutIds(request.first_ids, &writer);
      PutIds(request.end_ids, &writer);
      writer.Put(request.restart);
      break;
    }
    case OracleCommand::Kind::kScore:
      PutLists(command.sequences, &writer);
      break;
    case OracleCommand::Kind::kFinish:
      writer.Put(static_cast<int32_t>(command.outcome.code()));
      if (command.outcome.ok()) break;
      writer.PutString(ErrorReason(command.outcome));
      writer.Put(ErrorClassOf(command.outcome));
      writer.PutString(std::string(command.outcome.message()));
      break;
  }
  return writer.bytes();
}

absl::StatusOr<OracleCommand> ParseOracleCommand(const std::string& bytes) {
  ByteReader reader(bytes, at::kCPU);
  OracleCommand command;
  command.kind = reader.Take<OracleCommand::Kind>();
  switch (command.kind) {
    case OracleCommand::Kind::kGenerate: {
      calibration::GenerationRequest& request = command.request;
      request.sequences = reader.Take<int64_t>();
      request.seed = reader.Take<uint64_t>();
      request.first_stream = reader.Take<uint64_t>();
      request.prompts = TakeLists(&reader);
      request.tokens = reader.Take<int64_t>();
      request.initial_temperature = reader.Take<double>();
      request.final_temperature = reader.Take<double>();
      request.schedule_tokens = reader.Take<int64_t>();
      request.top_k = reader.Take<int64_t>();
      request.top_p = reader.Take<double>();
      request.repetition_penalty = reader.Take<double>();
      request.first_ids = TakeIds(&reader);
      request.end_ids = TakeIds(&reader);
      request.restart = reader.Take<bool>();
      break;
    }
    case OracleCommand::Kind::kScore:
      command.sequences = TakeLists(&reader);
      break;
    case OracleCommand::Kind::kFinish: {
      const auto code = static_cast<absl::StatusCode>(reader.Take<int32_t>());
      if (code == absl::StatusCode::kOk) break;
      const std::string reason = reader.TakeString();
      const auto error_class = reader.Take<ErrorClass>();
      command.outcome = MakeError(code, reason, error_class, reader.TakeString());
      break;
    }
    default:
      return DefectError("rank 0 asked the model for something unknown");
  }
  if (!reader.ok() || !reader.AtEnd()) return DefectError("rank 0 sent a request to the model that cannot be read");
  return command;
}

}  // namespace calipress::engine
