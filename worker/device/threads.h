#pragma once

namespace calipress::worker {

// Fixes how many threads compute, before the first tensor operation. `threads` of 0: one per CPU this process may use.
// Returns the number. A result depends on it to the last bit, so it is the same for a worker's whole life.
int UseThreads(int threads);

// Keeps libtorch's own warnings off standard error, unless TORCH_CPP_LOG_LEVEL asks for them: what matters comes back
// as a status. Call before anything of libtorch is used.
void QuietTorchLog();

}  // namespace calipress::worker
