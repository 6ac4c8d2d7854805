#include "compress/calibration/text_source.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/random.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/documents.h"
#include "compress/calibration/id_range.h"

namespace calipress::calibration {
namespace {

// Draws documents one by one, each once, uniformly (Fisher and Yates).
class Draw {
 public:
  Draw(int64_t documents, uint64_t seed) : left_(documents), random_(seed, 0) {
    std::iota(left_.begin(), left_.end(), int64_t{0});
  }

  bool empty() const { return next_ == left_.size(); }

  int64_t Next() {
    std::swap(left_[next_], left_[next_ + random_.Below(left_.size() - next_)]);
    return left_[next_++];
  }

 private:
  std::vector<int64_t> left_;
  size_t next_ = 0;
  RandomStream random_;
};

absl::Status TooLittle(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

absl::Status TooLittleToPack(const Documents& documents, int64_t samples, int64_t length, int64_t found) {
  const std::string remedy = found >= length ? absl::StrCat("calibration.samples to ", found / length, " or less")
                                             : std::string("calibration.sequence_length");
  return TooLittle(absl::StrCat(documents.name(), " has too little text: ", samples, " samples of ", length,
                                " tokens need ", samples * length, " tokens, and its ", documents.size(),
                                " documents have ", found, ". Give more text, or lower ", remedy));
}

absl::Status TooLittleForWindows(const Documents& documents, int64_t samples, int64_t length, int64_t found) {
  return TooLittle(absl::StrCat(documents.name(), " has too little text: ", samples, " windows of ", length,
                                " tokens need as many documents of at least that length, and ", found, " of its ",
                                documents.size(),
                                " documents have it. Give more text, lower calibration.samples or "
                                "calibration.sequence_length, or use layout: pack"));
}

}  // namespace

absl::StatusOr<TokenMatrix> TokensFromText(const v1::TextSource& source, const v1::Calibration& calibration,
                                           const SourceContext& context) {
  if (context.tokenizer == nullptr) return DefectError("calibration text without a tokenizer");
  CALIPRESS_ASSIGN_OR_RETURN(const auto documents, Documents::Open(context.store, source.uri(), source.field()));
  const bool window = source.layout() == v1::TEXT_LAYOUT_WINDOW;
  TokenMatrix tokens;
  tokens.sequences = calibration.samples();
  tokens.length = calibration.sequence_length();
  const size_t needed = tokens.sequences * tokens.length;

  Draw draw(documents->size(), calibration.seed());
  while (tokens.ids.size() < needed && !draw.empty()) {
    const int64_t document = draw.Next();
    CALIPRESS_ASSIGN_OR_RETURN(const std::string text, documents->Read(document));
    auto ids = context.tokenizer->Encode(text, /*add_special_tokens=*/true);
    if (!ids.ok()) return Annotate(ids.status(), documents->name());
    CALIPRESS_RETURN_IF_ERROR(CheckTokenizerIds(*ids, context.vocabulary));
    auto begin = ids->begin();
    auto end = ids->end();
    if (window) {
      const int64_t spare = static_cast<int64_t>(ids->size()) - tokens.length;
      if (spare < 0) continue;
      begin += RandomStream(calibration.seed(), document + 1).Below(spare + 1);
      end = begin + tokens.length;
    }
    tokens.ids.insert(tokens.ids.end(), begin, end);
  }
  const int64_t found = tokens.ids.size();
  if (tokens.ids.size() < needed) {
    return window ? TooLittleForWindows(*documents, tokens.sequences, tokens.length, found / tokens.length)
                  : TooLittleToPack(*documents, tokens.sequences, tokens.length, found);
  }
  tokens.ids.resize(needed);
  return tokens;
}

}  // namespace calipress::calibration
