#pragma once

#include <memory>
#include <ostream>

#include "client/cli/output/progress.h"

namespace calipress::cli {

// Where a verb writes: results to `out`, progress and errors to `err`.
struct Console {
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;
  int columns = 80;  // of the terminal

  // Progress on `err`: a bar on a terminal, lines otherwise.
  std::unique_ptr<ProgressView> Progress() const {
    return err_is_terminal ? BarProgress(err, columns) : PlainProgress(err);
  }
};

}  // namespace calipress::cli
