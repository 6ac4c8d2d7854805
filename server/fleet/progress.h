#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "calipress/v1/job.pb.h"
#include "calipress/worker/v1/worker_service.pb.h"

namespace calipress::fleet {

inline constexpr std::string_view kTokensPhase = "calibration-tokens";
inline constexpr std::string_view kRatiosPhase = "layer-ratios";
inline constexpr std::string_view kCompressPhase = "compress";
inline constexpr std::string_view kEvaluatePhase = "evaluate";
inline constexpr std::string_view kStudyPhase = "study";
inline constexpr std::string_view kKeepPhase = "keep";
inline constexpr std::string_view kAssemblePhase = "assemble";
inline constexpr std::string_view kPublishPhase = "publish";

// What one rank of the running attempt has said, and how many blocks it has.
struct RankProgress {
  const worker::v1::StageState* stage = nullptr;
  int blocks = 1;
};

// How far a job is, over all ranks and phases: phases weigh 2 (calibration-tokens), 30 (layer-ratios), 80
// (compress), 12 (evaluate), 5 (assemble) and 1 (publish), of a study 100 (study), 50 (keep) and 1; those that the job
// does not have drop out; ranks weigh by their blocks. Finished blocks count whoever finished them. `message` is left
// to the caller.
v1::Progress CombineProgress(const v1::CompressionJob& job, const std::vector<RankProgress>& ranks, int blocks_done);

// Some rank is past the making of calibration tokens: the job is RUNNING.
bool PastPreparation(const std::vector<RankProgress>& ranks);

}  // namespace calipress::fleet
