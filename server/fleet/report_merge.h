#pragma once

#include <vector>

#include "calipress/v1/report.pb.h"
#include "calipress/worker/v1/worker_service.pb.h"

namespace calipress::fleet {

// Adds the phases of one attempt's ranks to those of earlier attempts (`total`). Ranks go through a phase side by side:
// its time is the longest rank's; activities add up; attempts follow one another: their times add up.
void AddPhases(const std::vector<worker::v1::StageState>& ranks, worker::v1::StageState* total);

// What workers have said about a job that is done. `earlier` holds phases of earlier attempts, `blocks` are in block
// order. Sizes of source and output, and the total time, are the caller's.
v1::Report MergeReports(const std::vector<worker::v1::StageState>& ranks, const worker::v1::StageState& earlier,
                        const std::vector<worker::v1::FinishedBlock>& blocks);

}  // namespace calipress::fleet
