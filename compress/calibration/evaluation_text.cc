#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/utf8.h"
#include "compress/calibration/documents.h"
#include "compress/calibration/id_range.h"
#include "compress/calibration/source.h"
#include "compress/recipe/data_kind.h"

namespace calipress::calibration {
namespace {

// The text is tokenized in one go, so it is in memory in one piece.
constexpr int64_t kMaxTextBytes = 256 << 20;
constexpr std::string_view kJoint = "\n\n";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

absl::Status TextError(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

// A .txt as it is (the usual files are joined already); all rows of other files joined, empty ones too, of which
// WikiText has many (methods.md 8.1).
absl::StatusOr<std::string> WholeText(const v1::Perplexity& perplexity, storage::ObjectStore& store) {
  const std::string name = storage::RedactUri(perplexity.uri());
  CALIPRESS_ASSIGN_OR_RETURN(const auto reader, OpenDataFile(store, perplexity.uri()));
  if (reader->size() > kMaxTextBytes) {
    return TextError(absl::StrCat(name, " has ", reader->size(), " bytes; an evaluation text has at most ",
                                  kMaxTextBytes, ". Give a part of it"));
  }
  std::string text;
  if (recipe::DataKindOf(perplexity.uri()) == recipe::DataKind::kText) {
    text.resize(reader->size());
    CALIPRESS_RETURN_IF_ERROR(reader->ReadAt(0, reader->size(), text.data()));
    const size_t invalid = FindInvalidUtf8(text);
    if (invalid != std::string_view::npos) {
      const auto line = std::count(text.begin(), text.begin() + invalid, '\n') + 1;
      return TextError(absl::StrCat(name, ": line ", line, ": not valid UTF-8"));
    }
    if (std::string_view(text).substr(0, kByteOrderMark.size()) == kByteOrderMark) {
      text.erase(0, kByteOrderMark.size());
    }
    return text;
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto documents, Documents::Open(store, perplexity.uri(), perplexity.field(),
                                                                   RowKind::kText, EmptyRows::kKept));
  for (int64_t i = 0; i < documents->size(); ++i) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::string document, documents->Read(i));
    if (static_cast<int64_t>(text.size() + kJoint.size() + document.size()) > kMaxTextBytes) {
      return TextError(absl::StrCat(name, " unpacks to more than ", kMaxTextBytes,
                                    " bytes, which an evaluation text has at most. Give a part of it"));
    }
    if (i > 0) text.append(kJoint);
    text.append(document);
  }
  return text;
}

}  // namespace

absl::StatusOr<TokenMatrix> MakeEvaluationTokens(const v1::Perplexity& perplexity, const SourceContext& context) {
  if (context.tokenizer == nullptr) return DefectError("evaluation text without a tokenizer");
  const std::string name = storage::RedactUri(perplexity.uri());
  const int64_t length = perplexity.sequence_length();
  if (length < 2) return DefectError(absl::StrCat("evaluation windows of ", length, " tokens: not a resolved recipe"));
  if (length > context.max_positions) {
    return TextError(absl::StrCat("windows of ", length, " tokens for ", name, " are longer than the model's ",
                                  context.max_positions, " positions; lower sequence_length"));
  }
  CALIPRESS_ASSIGN_OR_RETURN(const std::string text, WholeText(perplexity, context.store));
  auto ids = context.tokenizer->Encode(text, /*add_special_tokens=*/true);
  if (!ids.ok()) return Annotate(ids.status(), name);
  CALIPRESS_RETURN_IF_ERROR(CheckTokenizerIds(*ids, context.vocabulary));

  TokenMatrix tokens;
  tokens.length = length;
  tokens.sequences = static_cast<int64_t>(ids->size()) / length;
  if (tokens.sequences == 0) {
    return TextError(absl::StrCat(name, " has too little text: a window needs ", length, " tokens, and it has ",
                                  ids->size(), ". Give more text, or lower sequence_length"));
  }
  if (perplexity.max_windows() > 0) tokens.sequences = std::min<int64_t>(tokens.sequences, perplexity.max_windows());
  tokens.ids = *std::move(ids);
  tokens.ids.resize(tokens.sequences * length);
  return tokens;
}

}  // namespace calipress::calibration
