#include "compress/engine/tokens.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/group.h"
#include "compress/engine/sample_share.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

constexpr int64_t kTokenizerLimit = 256 << 20;
constexpr int64_t kIdsLimit = int64_t{4} << 30;

at::Tensor ToTensor(const calibration::TokenMatrix& tokens, at::Device device) {
  return at::from_blob(const_cast<int64_t*>(tokens.ids.data()), {tokens.sequences, tokens.length}, at::kLong)
      .clone()
      .to(device);
}

// Tells every rank [sequences, length]; the last rank the ids where `ids_to_last`, or each replica those of its share.
absl::Status ShareShape(StageContext& context, bool ids_to_last, SharedTokens* tokens) {
  auto& group = context.environment.group;
  if (group.size() == 1) return absl::OkStatus();
  const auto options = at::TensorOptions().dtype(at::kLong).device(context.device);
  const auto share = [&](int rank) { return ShareOf(tokens->all_sequences, rank, group.size()); };
  if (context.leader()) {
    at::Tensor shape = at::tensor({tokens->batches.sequences, tokens->batches.length}, at::kLong).to(context.device);
    std::vector<std::unique_ptr<collective::Transfer>> transfers;
    for (int to = 1; to < group.size(); ++to) {
      CALIPRESS_ASSIGN_OR_RETURN(transfers.emplace_back(), group.Send(shape, to));
      if (!context.replicas()) continue;
      CALIPRESS_ASSIGN_OR_RETURN(transfers.emplace_back(),
                                 group.Send(tokens->ids.narrow(0, share(to).first, share(to).count), to));
    }
    if (ids_to_last && !context.replicas()) {
      CALIPRESS_ASSIGN_OR_RETURN(transfers.emplace_back(), group.Send(tokens->ids, group.size() - 1));
    }
    for (auto& transfer : transfers) CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
    if (context.replicas()) {
      tokens->batches.sequences = share(0).count;
      tokens->ids = tokens->ids.narrow(0, 0, share(0).count).clone();
    }
    return absl::OkStatus();
  }
  at::Tensor shape = at::empty({2}, options);
  CALIPRESS_ASSIGN_OR_RETURN(auto transfer, group.Receive(shape, 0));
  CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
  shape = shape.cpu();
  tokens->batches.sequences = shape.data_ptr<int64_t>()[0];
  tokens->batches.length = shape.data_ptr<int64_t>()[1];
  tokens->all_sequences = tokens->batches.sequences;
  if (context.replicas()) {
    tokens->first_sequence = share(group.rank()).first;
    tokens->batches.sequences = share(group.rank()).count;
  }
  if (context.replicas() || (ids_to_last && context.last())) {
    tokens->ids = at::empty({tokens->batches.sequences, tokens->batches.length}, options);
    CALIPRESS_ASSIGN_OR_RETURN(auto ids, group.Receive(tokens->ids, 0));
    CALIPRESS_RETURN_IF_ERROR(ids->Wait());
  }
  return absl::OkStatus();
}

absl::StatusOr<calibration::TokenMatrix> CalibrationIds(StageContext& context) {
  if (!context.assignment.calibration_ids_uri().empty()) {
    CALIPRESS_ASSIGN_OR_RETURN(std::string bytes,
                               context.store().ReadAll(context.assignment.calibration_ids_uri(), kIdsLimit));
    return calibration::ParseNpy(bytes);
  }
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  for (const auto& source : context.recipe().calibration().sources()) {
    if (!source.has_text() || tokenizer) continue;
    CALIPRESS_ASSIGN_OR_RETURN(tokenizer, OpenTokenizer(context));
  }
  return calibration::MakeCalibrationTokens(
      context.recipe().calibration(),
      {context.store(), tokenizer.get(), context.spec().vocabulary, context.spec().max_positions});
}

}  // namespace

absl::StatusOr<std::unique_ptr<tokenizer::Tokenizer>> OpenTokenizer(StageContext& context) {
  const std::string uri = storage::JoinUri(context.model->uri, "tokenizer.json");
  auto json = context.store().ReadAll(uri, kTokenizerLimit);
  if (absl::IsNotFound(json.status())) {
    return MakeError(absl::StatusCode::kNotFound, reason::kSourceModelNotFound, ErrorClass::kUser,
                     "no " + storage::RedactUri(uri) + ", which text needs: add it, or give token_ids");
  }
  CALIPRESS_RETURN_IF_ERROR(json.status());
  return tokenizer::Tokenizer::FromJson(*json);
}

absl::StatusOr<SharedTokens> ShareCalibrationTokens(StageContext& context) {
  SharedTokens tokens;
  if (context.leader()) {
    CALIPRESS_ASSIGN_OR_RETURN(calibration::TokenMatrix matrix, CalibrationIds(context));
    if (!context.assignment.staging_uri().empty()) {
      CALIPRESS_RETURN_IF_ERROR(context.store().WriteAll(
          storage::JoinUri(context.assignment.staging_uri(), "calibration_ids.npy"), calibration::FormatNpy(matrix)));
    }
    auto* report = context.outcome.mutable_calibration();
    report->set_sequences(matrix.sequences);
    report->set_sequence_length(static_cast<int32_t>(matrix.length));
    report->set_tokens(matrix.sequences * matrix.length);
    report->set_fingerprint(calibration::Fingerprint(matrix));
    tokens.batches.sequences = tokens.all_sequences = matrix.sequences;
    tokens.batches.length = matrix.length;
    tokens.ids = ToTensor(matrix, context.device);
  }
  CALIPRESS_RETURN_IF_ERROR(ShareShape(context, /*ids_to_last=*/false, &tokens));
  // token_ids decides the length itself, so that a default micro-batch is only known here.
  const auto& calibration = context.recipe().calibration();
  tokens.batches.rows =
      calibration.has_micro_batch() ? calibration.micro_batch() : recipe::DefaultMicroBatch(tokens.batches.length);
  return tokens;
}

absl::StatusOr<SharedTokens> ShareEvaluationTokens(StageContext& context, const v1::Perplexity& text) {
  SharedTokens tokens;
  if (context.leader()) {
    CALIPRESS_ASSIGN_OR_RETURN(auto tokenizer, OpenTokenizer(context));
    CALIPRESS_ASSIGN_OR_RETURN(
        calibration::TokenMatrix matrix,
        calibration::MakeEvaluationTokens(
            text, {context.store(), tokenizer.get(), context.spec().vocabulary, context.spec().max_positions}));
    tokens.batches.sequences = tokens.all_sequences = matrix.sequences;
    tokens.batches.length = matrix.length;
    tokens.ids = ToTensor(matrix, context.device);
  }
  CALIPRESS_RETURN_IF_ERROR(ShareShape(context, /*ids_to_last=*/true, &tokens));
  tokens.batches.rows = recipe::DefaultMicroBatch(tokens.batches.length);
  return tokens;
}

}  // namespace calipress::engine
