#pragma once

#include "calipress/v1/compression_service.pb.h"
#include "client/cli/console.h"
#include "client/cli/embedded/local_cluster.h"
#include "client/cli/interrupt.h"

namespace CLI {
class App;
}

namespace calipress::cli {

struct LocalJobResult {
  int exit_code = 0;
  // The coordinator took the job: its database and staged files are worth something.
  bool accepted = false;
  // As it ended; empty where that was not seen.
  v1::CompressionJob job = {};
};

// Starts a cluster, runs one job on it with progress, shows the outcome, and takes the cluster down. The first Ctrl-C
// cancels the job, the second leaves it as it is.
//
// A job of the same request that the database holds unfinished is gone on with; any other unfinished one is cancelled.
LocalJobResult RunLocalJob(v1::CreateCompressionJobRequest request, const LocalClusterOptions& options, bool json,
                           const Interrupt& interrupt, const Console& console);

// --device and --threads-per-worker.
void AddLocalOptions(CLI::App* command, LocalClusterOptions* options);

}  // namespace calipress::cli
