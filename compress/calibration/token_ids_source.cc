#include "compress/calibration/token_ids_source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/documents.h"
#include "compress/calibration/draw_order.h"
#include "compress/calibration/filter.h"
#include "compress/calibration/token_safetensors.h"
#include "compress/recipe/data_kind.h"

namespace calipress::calibration {
namespace {

// As many ids as Validate lets a recipe ask for, and a header.
constexpr int64_t kMaxFileBytes = (int64_t{1} << 31) + 65536;

absl::Status Refused(const std::string& name, const std::string& message) {
  return UserError(reason::kInvalidCalibrationData, absl::StrCat(name, " ", message));
}

absl::StatusOr<TokenMatrix> ReadTokenFile(storage::ObjectStore& store, const std::string& uri) {
  const std::string name = storage::RedactUri(uri);
  CALIPRESS_ASSIGN_OR_RETURN(const auto reader, OpenDataFile(store, uri));
  if (reader->size() > kMaxFileBytes) {
    return Refused(name, absl::StrCat("has ", reader->size(), " bytes; at most ", kMaxFileBytes, " are read"));
  }
  std::string bytes(reader->size(), '\0');
  CALIPRESS_RETURN_IF_ERROR(reader->ReadAt(0, reader->size(), bytes.data()));
  auto parsed =
      recipe::DataKindOf(uri) == recipe::DataKind::kSafetensors ? ParseTokenSafetensors(bytes) : ParseNpy(bytes);
  if (!parsed.ok()) return Annotate(parsed.status(), name);
  return parsed;
}

// Rows as they stand, or in the order of a draw.
class Rows : public ItemStream {
 public:
  Rows(const TokenMatrix& rows, const SourceRequest& request)
      : rows_(rows), drawn_(request.drawn), order_(request.drawn ? rows.sequences : 0, request) {}

  absl::StatusOr<std::optional<Item>> Next() override {
    if (drawn_ ? order_.empty() : next_ == rows_.sequences) return std::nullopt;
    const int64_t row = drawn_ ? order_.Next() : next_++;
    const auto begin = rows_.ids.begin() + row * rows_.length;
    return Item{row, std::vector<int64_t>(begin, begin + rows_.length)};
  }

 private:
  const TokenMatrix& rows_;
  const bool drawn_;
  int64_t next_ = 0;
  DrawOrder order_;
};

absl::Status CheckIds(const TokenMatrix& tokens, const std::string& name, int64_t vocabulary) {
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    if (tokens.ids[i] >= 0 && tokens.ids[i] < vocabulary) continue;
    return Refused(name, absl::StrCat("has the id ", tokens.ids[i], " in row ", i / tokens.length, ", column ",
                                      i % tokens.length, " (from 0), and the model's vocabulary has ", vocabulary,
                                      " (vocab_size); the ids are of another tokenizer"));
  }
  return absl::OkStatus();
}

absl::Status CheckFirstRow(const v1::TokenIdsSource& source, const std::string& name, int64_t sequences) {
  if (source.first_row() < sequences) return absl::OkStatus();
  return Refused(name, absl::StrCat("has ", sequences, " rows, and token_ids.first_row passes over ",
                                    source.first_row(), "; lower it"));
}

}  // namespace

absl::StatusOr<SourceTokens> TokensFromIds(const v1::TokenIdsSource& source, const SourceRequest& request,
                                           const SourceContext& context) {
  const std::string name = storage::RedactUri(source.uri());
  CALIPRESS_ASSIGN_OR_RETURN(TokenMatrix file, ReadTokenFile(context.store, source.uri()));
  if (request.length > 0 && request.length != file.length) {
    return Refused(name,
                   absl::StrCat("has sequences of ", file.length, " tokens, and calibration.sequence_length is ",
                                request.length, "; give that length, or leave it out where ids are all there is"));
  }
  CALIPRESS_RETURN_IF_ERROR(CheckIds(file, name, context.vocabulary));
  CALIPRESS_RETURN_IF_ERROR(CheckFirstRow(source, name, file.sequences));
  file.ids.erase(file.ids.begin(), file.ids.begin() + source.first_row() * file.length);
  file.sequences -= source.first_row();
  if (file.sequences < request.draws) {
    return Refused(name, absl::StrCat("has ", file.sequences, " sequences, which ", request.draws,
                                      " disjoint draws cannot share; ask for fewer draws"));
  }
  const bool all = request.sequences == recipe::kAllSequences;
  Rows rows(file, request);
  FilteredStream items(rows, request.filter, file.length, context.model);
  SourceTokens tokens{.length = file.length, .ids = {}};
  while (all || tokens.sequences < request.sequences) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::optional<Item> item, items.Next());
    if (!item) break;
    tokens.ids.insert(tokens.ids.end(), item->ids.begin(), item->ids.end());
    ++tokens.sequences;
  }
  tokens.documents = items.seen();
  tokens.filtered = items.left_out();
  if (all && tokens.sequences > 0) return tokens;
  if (!all && tokens.sequences == request.sequences) return tokens;
  return Refused(name,
                 absl::StrCat("has ", tokens.sequences, " sequences", DrawText(request),
                              all ? std::string() : absl::StrCat(", and ", request.sequences, " are asked for"),
                              items.Account(), all ? "; widen the filter" : "; lower it, or leave it out to use all"));
}

absl::StatusOr<TokenFileShape> ReadTokenFileShape(storage::ObjectStore& store, const v1::TokenIdsSource& source) {
  const std::string& uri = source.uri();
  CALIPRESS_ASSIGN_OR_RETURN(const auto reader, OpenDataFile(store, uri));
  const bool safetensors = recipe::DataKindOf(uri) == recipe::DataKind::kSafetensors;
  std::string start(std::min(reader->size(), kTokenFileStartBytes), '\0');
  CALIPRESS_RETURN_IF_ERROR(reader->ReadAt(0, static_cast<int64_t>(start.size()), start.data()));
  auto layout =
      safetensors ? ParseTokenSafetensorsLayout(start, reader->size()) : ParseNpyLayout(start, reader->size());
  if (!layout.ok()) return Annotate(layout.status(), storage::RedactUri(uri));
  CALIPRESS_RETURN_IF_ERROR(CheckFirstRow(source, storage::RedactUri(uri), layout->sequences));
  return TokenFileShape{layout->sequences - source.first_row(), layout->length};
}

}  // namespace calipress::calibration
