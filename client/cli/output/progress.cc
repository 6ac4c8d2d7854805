#include "client/cli/output/progress.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output/json.h"
#include "client/cli/output/text.h"
#include "compress/base/units.h"

namespace calipress::cli {
namespace {

constexpr int kBarColumns = 24;
// Before that an estimate of the time left says nothing.
constexpr double kSomeProgress = 0.03;

// Seconds since the job's first event, by the coordinator's clock.
class JobTime {
 public:
  double Seconds(const v1::JobEvent& event) {
    const double now = static_cast<double>(event.time().seconds()) + 1e-9 * event.time().nanos();
    if (first_ < 0) first_ = now;
    return std::max(0.0, now - first_);
  }

 private:
  double first_ = -1;
};

// "compress 3/6".
std::string PhaseText(const v1::JobEvent& event) {
  const v1::Progress& progress = event.progress();
  std::string text = progress.phase().empty() ? StateName(event.state()) : OneLine(progress.phase());
  if (progress.blocks_total() > 0) absl::StrAppend(&text, " ", progress.blocks_done(), "/", progress.blocks_total());
  return text;
}

double Fraction(const v1::JobEvent& event) {
  const double fraction = event.progress().fraction();
  return std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
}

class Bar : public ProgressView {
 public:
  Bar(std::ostream& out, int columns) : out_(out), columns_(static_cast<size_t>(std::max(columns, 20))) {}

  void OnEvent(const v1::JobEvent& event) override {
    const double seconds = time_.Seconds(event);
    if (!event.message().empty()) Note(OneLine(event.message()));
    const double fraction = Fraction(event);
    const int full = static_cast<int>(std::floor(fraction * kBarColumns));
    std::string line = absl::StrCat(
        "[", std::string(static_cast<size_t>(full), '#'), std::string(static_cast<size_t>(kBarColumns - full), '.'),
        "] ", absl::StrFormat("%3.0f %%  ", 100 * fraction), PhaseText(event), "  ", FormatSeconds(seconds));
    if (fraction > kSomeProgress && fraction < 1) {
      absl::StrAppend(&line, ", about ", FormatSeconds(seconds * (1 - fraction) / fraction), " left");
    }
    if (!event.progress().message().empty()) absl::StrAppend(&line, "  ", OneLine(event.progress().message()));
    line_ = FitColumns(line, columns_ - 1);
    Draw();
  }

  void Note(const std::string& text) override {
    out_ << "\r\x1b[K" << text << "\n";
    Draw();
  }

  void Finish() override {
    // The summary takes the bar's place.
    if (!line_.empty()) out_ << "\r\x1b[K" << std::flush;
    line_.clear();
  }

 private:
  void Draw() { out_ << "\r\x1b[K" << line_ << std::flush; }

  std::ostream& out_;
  const size_t columns_;
  JobTime time_;
  std::string line_;
};

class Plain : public ProgressView {
 public:
  explicit Plain(std::ostream& out) : out_(out) {}

  void OnEvent(const v1::JobEvent& event) override {
    const double seconds = time_.Seconds(event);
    const std::string key = absl::StrCat(event.state(), " ", event.attempt(), " ", PhaseText(event));
    const bool news = key != last_key_ || !event.message().empty();
    last_key_ = key;
    if (!news) return;
    // A message that ends the line says more than what the block is at.
    const std::string& detail = event.message().empty() ? event.progress().message() : event.message();
    out_ << absl::StrFormat("%9s  %3.0f %%  %-9s  ", FormatSeconds(seconds), 100 * Fraction(event),
                            StateName(event.state()))
         << PhaseText(event) << (detail.empty() ? "" : "  ") << OneLine(detail) << std::endl;
  }

  void Note(const std::string& text) override { out_ << text << std::endl; }
  void Finish() override {}

 private:
  std::ostream& out_;
  JobTime time_;
  std::string last_key_;
};

class Json : public ProgressView {
 public:
  explicit Json(std::ostream& out) : out_(out) {}
  void OnEvent(const v1::JobEvent& event) override { out_ << JsonLine(event) << std::endl; }
  void Note(const std::string&) override {}
  void Finish() override {}

 private:
  std::ostream& out_;
};

class None : public ProgressView {
 public:
  void OnEvent(const v1::JobEvent&) override {}
  void Note(const std::string&) override {}
  void Finish() override {}
};

}  // namespace

std::unique_ptr<ProgressView> BarProgress(std::ostream& out, int columns) {
  return std::make_unique<Bar>(out, columns);
}
std::unique_ptr<ProgressView> PlainProgress(std::ostream& out) { return std::make_unique<Plain>(out); }
std::unique_ptr<ProgressView> JsonProgress(std::ostream& out) { return std::make_unique<Json>(out); }
std::unique_ptr<ProgressView> NoProgress() { return std::make_unique<None>(); }

std::string StateName(v1::CompressionJob::State state) {
  return absl::AsciiStrToLower(v1::CompressionJob::State_Name(state));
}

}  // namespace calipress::cli
