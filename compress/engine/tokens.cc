#include "compress/engine/tokens.h"

#include <algorithm>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include "compress/arch/text_ends.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/set_report.h"
#include "compress/collective/group.h"
#include "compress/engine/oracle.h"
#include "compress/engine/sample_share.h"
#include "compress/recipe/calibration_plan.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

// Sequences of a set that could not be made.
constexpr int64_t kNoTokens = -1;
constexpr int64_t kTokenizerLimit = 256 << 20;
constexpr int64_t kGenerationConfigLimit = 1 << 20;

at::Tensor ToTensor(const calibration::TokenMatrix& tokens, at::Device device) {
  return at::from_blob(const_cast<int64_t*>(tokens.ids.data()), {tokens.sequences, tokens.length}, at::kLong)
      .clone()
      .to(device);
}

// Tells every rank [sequences, length] and what each source gave; the last rank the ids where `ids_to_last`, or each
// replica those of its share.
absl::Status ShareShape(StageContext& context, bool ids_to_last, SharedTokens* tokens) {
  auto& group = context.environment.group;
  if (group.size() == 1) return absl::OkStatus();
  const auto options = at::TensorOptions().dtype(at::kLong).device(context.device);
  const auto share = [&](int rank) { return ShareOf(tokens->all_sequences, rank, group.size()); };
  if (context.leader()) {
    std::vector<int64_t> numbers = {tokens->batches.sequences, tokens->batches.length};
    numbers.insert(numbers.end(), tokens->source_sequences.begin(), tokens->source_sequences.end());
    at::Tensor shape = at::tensor(numbers, at::kLong).to(context.device);
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
  at::Tensor shape = at::empty({2 + static_cast<int64_t>(tokens->source_sequences.size())}, options);
  CALIPRESS_ASSIGN_OR_RETURN(auto transfer, group.Receive(shape, 0));
  CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
  shape = shape.cpu();
  tokens->batches.sequences = shape.data_ptr<int64_t>()[0];
  if (tokens->batches.sequences == kNoTokens) {
    return UserError(reason::kInvalidCalibrationData, "rank 0 could not make the calibration tokens of this run");
  }
  tokens->batches.length = shape.data_ptr<int64_t>()[1];
  std::copy_n(shape.data_ptr<int64_t>() + 2, tokens->source_sequences.size(), tokens->source_sequences.begin());
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

// What sources want to know of the model.
absl::StatusOr<calibration::SourceContext> MakeSourceContext(StageContext& context,
                                                             const tokenizer::Tokenizer* tokenizer,
                                                             calibration::ModelOracle* model) {
  calibration::SourceContext source{context.store(), tokenizer, context.spec().vocabulary,
                                    context.spec().max_positions};
  source.model_uri = context.model->uri;
  if (model == nullptr) return source;
  source.model = model;
  auto generation =
      context.store().ReadAll(storage::JoinUri(context.model->uri, "generation_config.json"), kGenerationConfigLimit);
  if (!generation.ok() && !absl::IsNotFound(generation.status())) return generation.status();
  CALIPRESS_ASSIGN_OR_RETURN(
      const arch::TextEnds ends,
      arch::ParseTextEnds(context.model->config_json, generation.ok() ? *generation : "", context.spec().vocabulary));
  source.begin_id = ends.begin;
  source.end_ids = ends.end;
  return source;
}

// Reads what an earlier attempt has made, or makes it. `model`: where something asks it.
absl::StatusOr<CalibrationSet> MakeCalibration(StageContext& context, calibration::ModelOracle* model) {
  if (!context.assignment.calibration_ids_uri().empty()) {
    return LoadCalibration(context.store(), context.assignment.calibration_ids_uri());
  }
  const v1::Calibration& calibration = context.recipe().calibration();
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  if (recipe::NeedsTokenizer(calibration)) {
    CALIPRESS_ASSIGN_OR_RETURN(tokenizer, OpenTokenizer(context));
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto sources, MakeSourceContext(context, tokenizer.get(), model));
  CalibrationSet set;
  CALIPRESS_ASSIGN_OR_RETURN(set.tokens, calibration::MakeCalibrationTokens(calibration, sources));
  set.report = calibration::ReportOf(set.tokens, context.spec().vocabulary);
  if (model != nullptr) {
    CALIPRESS_RETURN_IF_ERROR(calibration::ScoreSet(set.tokens, calibration.scored_tokens(), *model, &set.report));
  }
  return set;
}

// Rank 0's part. `asks`: the others serve the original model meanwhile; `served`: they are done with that, and wait for
// the tokens' shape.
absl::Status MakeHere(StageContext& context, const CalibrationPlace& place, bool asks, bool* served,
                      SharedTokens* tokens) {
  PipelineOracle oracle(context);
  auto made = MakeCalibration(context, asks ? &oracle : nullptr);
  if (asks) CALIPRESS_RETURN_IF_ERROR(oracle.Finish(made.status()));
  *served = true;
  CALIPRESS_ASSIGN_OR_RETURN(CalibrationSet set, std::move(made));
  if (asks) {
    set.report.set_generated_tokens(oracle.generated_tokens());
    set.report.set_generation_seconds(oracle.generation_seconds());
  }
  if (!place.ids_uri.empty()) {
    set.report.set_ids_file(place.name);
    if (place.ids_uri != context.assignment.calibration_ids_uri()) {
      CALIPRESS_RETURN_IF_ERROR(SaveCalibration(context.store(), place.ids_uri, set));
    }
  }
  *context.outcome.mutable_calibration() = set.report;
  for (size_t i = 0; i < set.tokens.parts.size(); ++i) {
    tokens->source_sequences.at(i) = set.tokens.parts[i].sequences();
  }
  tokens->batches.sequences = tokens->all_sequences = set.tokens.sequences;
  tokens->batches.length = set.tokens.length;
  tokens->ids = ToTensor(set.tokens, context.device);
  return absl::OkStatus();
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

absl::StatusOr<SharedTokens> ShareCalibrationTokens(StageContext& context, const CalibrationPlace& place) {
  SharedTokens tokens;
  const v1::Calibration& calibration = context.recipe().calibration();
  // One number for every source, by which the others know what is of which domain.
  tokens.source_sequences.resize(calibration.sources_size());
  const bool asks = context.assignment.calibration_ids_uri().empty() && recipe::AsksModel(calibration);
  bool served = false;
  if (!context.leader()) {
    // Fails as rank 0 does.
    if (asks) CALIPRESS_RETURN_IF_ERROR(ServeOracle(context));
  } else if (const absl::Status status = MakeHere(context, place, asks, &served, &tokens); !status.ok()) {
    if (served && EndsRunAlone(context, status)) {
      // The others wait for a shape; without a study the end of the attempt tells them.
      tokens.batches = {.sequences = kNoTokens};
      CALIPRESS_RETURN_IF_ERROR(ShareShape(context, /*ids_to_last=*/false, &tokens));
    }
    return status;
  }
  CALIPRESS_RETURN_IF_ERROR(ShareShape(context, /*ids_to_last=*/false, &tokens));
  // token_ids decides the length itself, so that a default micro-batch is only known here.
  tokens.batches.rows =
      calibration.has_micro_batch() ? calibration.micro_batch() : recipe::DefaultMicroBatch(tokens.batches.length);
  tokens.mixing = MakeMixingPlan(calibration, tokens.source_sequences);
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
