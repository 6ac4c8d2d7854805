#include "compress/engine/oracle.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/byte_buffer.h"
#include "compress/engine/generate.h"
#include "compress/engine/oracle_command.h"
#include "compress/engine/score.h"

namespace calipress::engine {
namespace {

constexpr double kProgressSeconds = 0.5;

// Tells every rank; on the others, hears it.
absl::StatusOr<OracleCommand> Share(StageContext& context, const OracleCommand& command) {
  const std::string mine = context.leader() ? ToBytes(command) : std::string();
  CALIPRESS_ASSIGN_OR_RETURN(const auto gathered, GatherBytes(context.environment.group, mine, context.device));
  return ParseOracleCommand(gathered.front());
}

// "writing calibration text: 1234 of 65536 tokens", not more often than anyone reads it.
class ProgressLine {
 public:
  ProgressLine(StageContext& context, std::string what) : context_(context), what_(std::move(what)) {}

  void operator()(int64_t done, int64_t all) {
    if (done != all && watch_.Seconds() < kProgressSeconds) return;
    watch_ = Stopwatch();
    const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(std::max<int64_t>(1, all)));
    context_.observer.OnProgress(kTokensPhase, share, absl::StrCat(what_, ": ", done, " of ", all, " tokens"));
  }

 private:
  StageContext& context_;
  const std::string what_;
  Stopwatch watch_;
};

absl::StatusOr<Generated> Generate(StageContext& context, const calibration::GenerationRequest& request) {
  return GenerateOnStages(context, request, ProgressLine(context, "writing calibration text"));
}

absl::StatusOr<std::vector<calibration::ScoredSequence>> Score(StageContext& context,
                                                               std::vector<std::vector<int64_t>> sequences) {
  return ScoreOnStages(context, std::move(sequences), ProgressLine(context, "scoring calibration text"));
}

absl::Status CheckIds(const std::vector<std::vector<int64_t>>& lists, int64_t most, int64_t vocabulary) {
  for (const auto& list : lists) {
    if (list.empty() || static_cast<int64_t>(list.size()) > most) {
      return DefectError(absl::StrCat("the model was asked about ", list.size(), " tokens; it takes 1 to ", most));
    }
    if (std::any_of(list.begin(), list.end(), [&](int64_t id) { return id < 0 || id >= vocabulary; })) {
      return DefectError("the model was asked about tokens outside its vocabulary");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<calibration::ScoredSequence>> PipelineOracle::Generate(
    const calibration::GenerationRequest& request) {
  const Stopwatch watch;
  if (request.tokens < 1 || request.tokens > context_.spec().max_positions ||
      request.sequences != static_cast<int64_t>(request.prompts.size())) {
    return DefectError("the model was asked for sequences that it cannot write");
  }
  CALIPRESS_RETURN_IF_ERROR(CheckIds(request.prompts, request.tokens, context_.spec().vocabulary));
  if (request.sequences == 0) return std::vector<calibration::ScoredSequence>();
  failed_ = context_.out_of_step = true;
  OracleCommand command;
  command.kind = OracleCommand::Kind::kGenerate;
  command.request = request;
  CALIPRESS_RETURN_IF_ERROR(Share(context_, command).status());
  CALIPRESS_ASSIGN_OR_RETURN(Generated generated, engine::Generate(context_, request));
  failed_ = context_.out_of_step = false;
  generated_tokens_ += generated.written;
  generation_seconds_ += watch.Seconds();
  return std::move(generated.sequences);
}

absl::StatusOr<std::vector<calibration::ScoredSequence>> PipelineOracle::Score(
    std::vector<std::vector<int64_t>> sequences) {
  CALIPRESS_RETURN_IF_ERROR(CheckIds(sequences, context_.spec().max_positions, context_.spec().vocabulary));
  if (sequences.empty()) return std::vector<calibration::ScoredSequence>();
  failed_ = context_.out_of_step = true;
  OracleCommand command;
  command.kind = OracleCommand::Kind::kScore;
  command.sequences = sequences;
  CALIPRESS_RETURN_IF_ERROR(Share(context_, command).status());
  CALIPRESS_ASSIGN_OR_RETURN(auto scored, engine::Score(context_, std::move(sequences)));
  failed_ = context_.out_of_step = false;
  return scored;
}

absl::Status PipelineOracle::Finish(const absl::Status& outcome) {
  if (failed_) return outcome;
  OracleCommand command;
  command.outcome = outcome;
  const absl::Status told = Share(context_, command).status();
  return outcome.ok() ? told : outcome;
}

absl::Status ServeOracle(StageContext& context) {
  for (;;) {
    CALIPRESS_ASSIGN_OR_RETURN(OracleCommand command, Share(context, {}));
    switch (command.kind) {
      case OracleCommand::Kind::kGenerate:
        context.out_of_step = true;
        CALIPRESS_RETURN_IF_ERROR(Generate(context, command.request).status());
        context.out_of_step = false;
        break;
      case OracleCommand::Kind::kScore:
        context.out_of_step = true;
        CALIPRESS_RETURN_IF_ERROR(Score(context, std::move(command.sequences)).status());
        context.out_of_step = false;
        break;
      case OracleCommand::Kind::kFinish:
        return command.outcome;
    }
  }
}

}  // namespace calipress::engine
