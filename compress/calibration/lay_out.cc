#include "compress/calibration/lay_out.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/random.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/draw_order.h"
#include "compress/calibration/filter.h"
#include "compress/calibration/id_range.h"

namespace calipress::calibration {
namespace {

using Encode = std::function<absl::StatusOr<std::vector<int64_t>>(const std::string& text)>;

class DrawnDocuments : public ItemStream {
 public:
  DrawnDocuments(const Documents& documents, const Encode& encode, const SourceRequest& request, int64_t vocabulary)
      : documents_(documents), encode_(encode), order_(documents.size(), request), vocabulary_(vocabulary) {}

  int64_t size() const { return order_.size(); }

  absl::StatusOr<std::optional<Item>> Next() override {
    if (order_.empty()) return std::nullopt;
    Item item{.number = order_.Next(), .ids = {}};
    CALIPRESS_ASSIGN_OR_RETURN(const std::string text, documents_.Read(item.number));
    auto ids = encode_(text);
    if (!ids.ok()) return Annotate(ids.status(), documents_.name());
    CALIPRESS_RETURN_IF_ERROR(CheckTokenizerIds(*ids, vocabulary_));
    item.ids = *std::move(ids);
    return item;
  }

 private:
  const Documents& documents_;
  const Encode& encode_;
  DrawOrder order_;
  const int64_t vocabulary_;
};

absl::Status TooLittle(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

absl::Status TooLittleToPack(const Documents& documents, int64_t drawn, const SourceRequest& request, int64_t found,
                             const std::string& account) {
  const int64_t length = request.length;
  const std::string remedy = found >= length ? absl::StrCat("calibration.samples to ", found / length, " or less")
                                             : std::string("calibration.sequence_length");
  return TooLittle(absl::StrCat(documents.name(), " has too little text", DrawText(request), ": ", request.sequences,
                                " samples of ", length, " tokens need ", request.sequences * length,
                                " tokens, and its ", drawn, " documents have ", found, account,
                                ". Give more text, or lower ", remedy));
}

absl::Status TooLittleForWindows(const Documents& documents, int64_t drawn, const SourceRequest& request, int64_t found,
                                 const std::string& account) {
  return TooLittle(absl::StrCat(documents.name(), " has too little text", DrawText(request), ": ", request.sequences,
                                " windows of ", request.length,
                                " tokens need as many documents of at least that length, and ", found, " of its ",
                                drawn, " documents have it", account,
                                ". Give more text, lower calibration.samples or calibration.sequence_length, or use "
                                "layout: pack"));
}

}  // namespace

absl::StatusOr<SourceTokens> LayOutDocuments(const Documents& documents, v1::TextLayout layout, const Encode& encode,
                                             const SourceRequest& request, const SourceContext& context) {
  const bool window = layout == v1::TEXT_LAYOUT_WINDOW;
  const size_t needed = request.sequences * request.length;
  DrawnDocuments drawn(documents, encode, request, context.vocabulary);
  if (documents.size() < request.draws) {
    return TooLittle(absl::StrCat(documents.name(), " has ", documents.size(), " documents, which ", request.draws,
                                  " disjoint draws cannot share; give more text, or ask for fewer draws"));
  }
  FilteredStream items(drawn, request.filter, request.length, context.model);
  SourceTokens tokens{.sequences = request.sequences, .length = request.length, .ids = {}};
  while (tokens.ids.size() < needed) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::optional<Item> item, items.Next());
    if (!item) break;
    auto begin = item->ids.begin();
    auto end = item->ids.end();
    if (window) {
      const int64_t spare = static_cast<int64_t>(item->ids.size()) - tokens.length;
      if (spare < 0) continue;
      begin += RandomStream(request.seed, item->number + 1).Below(spare + 1);
      end = begin + tokens.length;
    }
    tokens.ids.insert(tokens.ids.end(), begin, end);
  }
  const int64_t found = tokens.ids.size();
  if (tokens.ids.size() < needed) {
    return window ? TooLittleForWindows(documents, drawn.size(), request, found / tokens.length, items.Account())
                  : TooLittleToPack(documents, drawn.size(), request, found, items.Account());
  }
  tokens.ids.resize(needed);
  tokens.documents = items.seen();
  tokens.filtered = items.left_out();
  return tokens;
}

}  // namespace calipress::calibration
