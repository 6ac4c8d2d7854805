#pragma once

#include <memory>
#include <ostream>

#include "calipress/v1/event.pb.h"

namespace calipress::cli {

// Shows a job's events as they come. Not thread-safe.
class ProgressView {
 public:
  virtual ~ProgressView() = default;
  virtual void OnEvent(const v1::JobEvent& event) = 0;
  // A note of the program's own, as a line.
  virtual void Note(const std::string& text) = 0;
  // Ends a bar's line. No event follows.
  virtual void Finish() = 0;
};

// For a terminal of `columns`: one line that is drawn again, notable events as lines above it.
std::unique_ptr<ProgressView> BarProgress(std::ostream& out, int columns);

// A line for every block, phase and state, and for every event with a message.
std::unique_ptr<ProgressView> PlainProgress(std::ostream& out);

// A line of JSON for every event.
std::unique_ptr<ProgressView> JsonProgress(std::ostream& out);

// Shows nothing.
std::unique_ptr<ProgressView> NoProgress();

// "RUNNING" -> "running".
std::string StateName(v1::CompressionJob::State state);

}  // namespace calipress::cli
