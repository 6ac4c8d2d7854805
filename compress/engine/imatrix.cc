#include "compress/engine/imatrix.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/imatrix.h"
#include "compress/recipe/calibration_plan.h"

namespace calipress::engine {
namespace {

constexpr std::string_view kPrefix = "calipress.in_sum2.";

std::string LlamaCppName(arch::Role role) {
  switch (role) {
    case arch::Role::kQuery:
      return "attn_q";
    case arch::Role::kKey:
      return "attn_k";
    case arch::Role::kValue:
      return "attn_v";
    case arch::Role::kOutput:
      return "attn_output";
    case arch::Role::kGate:
      return "ffn_gate";
    case arch::Role::kUp:
      return "ffn_up";
    case arch::Role::kDown:
      return "ffn_down";
    default:
      return std::string(arch::RoleName(role));
  }
}

std::vector<std::string> Datasets(const v1::Calibration& calibration) {
  std::vector<std::string> names;
  for (const v1::CalibrationSource& source : calibration.sources()) {
    const std::string uri = recipe::SourceUri(source);
    names.push_back(uri.empty() ? recipe::SourceKind(source) : storage::RedactUri(uri));
  }
  return names;
}

absl::StatusOr<std::vector<float>> ReadSums(const checkpoint::ModelReader& reader, int input, int64_t columns) {
  const checkpoint::TensorInfo* info = reader.Find(SquareSumName(input));
  if (info == nullptr || info->dtype != Dtype::kF32 || info->shape != std::vector<int64_t>{columns}) {
    return DefectError(absl::StrCat("a staged block does not hold ", SquareSumName(input), " as planned"));
  }
  std::vector<float> sums(columns);
  CALIPRESS_RETURN_IF_ERROR(reader.Read(*info, sums.data()));
  return sums;
}

}  // namespace

std::string SquareSumName(int input) { return std::string(kPrefix) + std::to_string(input); }

bool IsSquareSum(std::string_view tensor) { return tensor.starts_with(kPrefix); }

std::vector<checkpoint::TensorPlan> SquareSumPlan(const arch::ArchSpec& spec, int64_t block) {
  std::map<int, int64_t> columns;
  for (const auto& linear : arch::BlockLinears(spec, block)) columns[linear.input] = linear.in;
  std::vector<checkpoint::TensorPlan> plan;
  plan.reserve(columns.size());
  for (const auto& [input, in] : columns) plan.push_back({SquareSumName(input), Dtype::kF32, {in}});
  return plan;
}

absl::Status WriteImatrix(StageContext& context, const std::vector<std::string>& block_uris) {
  const v1::CalibrationReport& calibration = context.outcome.calibration();
  checkpoint::Imatrix imatrix;
  imatrix.datasets = Datasets(context.recipe().calibration());
  imatrix.chunks = calibration.sequences();
  imatrix.chunk_size = calibration.sequence_length();
  imatrix.tokens = calibration.tokens();
  for (size_t block = 0; block < block_uris.size(); ++block) {
    CALIPRESS_RETURN_IF_ERROR(context.cancellation.status());
    CALIPRESS_ASSIGN_OR_RETURN(const auto reader,
                               checkpoint::ModelReader::OpenFile(context.store(), block_uris[block]));
    for (const auto& linear : arch::BlockLinears(context.spec(), static_cast<int64_t>(block))) {
      auto& entry = imatrix.entries.emplace_back();
      entry.weight = absl::StrCat("blk.", block, ".", LlamaCppName(linear.role), ".weight");
      CALIPRESS_ASSIGN_OR_RETURN(entry.in_sum2, ReadSums(*reader, linear.input, linear.in));
    }
  }
  return context.store().WriteAll(storage::JoinUri(context.assignment.staging_uri(), "imatrix.gguf"),
                                  checkpoint::FormatImatrix(std::move(imatrix)));
}

}  // namespace calipress::engine
