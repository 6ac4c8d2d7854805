#include "compress/calibration/prefix_generated_source.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/random.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/documents.h"
#include "compress/calibration/id_range.h"
#include "compress/calibration/self_generated_source.h"

namespace calipress::calibration {
namespace {

constexpr uint64_t kFirstTextStream = 1;  // stream 0 orders the documents
constexpr uint64_t kFirstWindowStream = uint64_t{1} << 31;

absl::Status TooLittle(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

// The beginnings of documents, in shuffled order.
class Prefixes {
 public:
  static absl::StatusOr<Prefixes> Open(const v1::PrefixGeneratedSource& source, const v1::Calibration& calibration,
                                       const SourceContext& context) {
    Prefixes prefixes(context, source.prefix_tokens());
    CALIPRESS_ASSIGN_OR_RETURN(prefixes.documents_,
                               Documents::Open(context.store, source.prefixes().uri(), source.prefixes().field()));
    std::vector<int64_t> order(prefixes.documents_->size());
    std::iota(order.begin(), order.end(), int64_t{0});
    RandomStream random(calibration.seed(), 0);
    const uint64_t of = std::max(1, calibration.draw().of());
    for (size_t place = 0; place < order.size(); ++place) {
      std::swap(order[place], order[place + random.Below(order.size() - place)]);
      if (place % of == static_cast<uint64_t>(calibration.draw().index())) prefixes.order_.push_back(order[place]);
    }
    return prefixes;
  }

  // Adds up to `count` more; fewer where the documents end.
  absl::Status Take(int64_t count, std::vector<std::vector<int64_t>>* prefixes) {
    for (; count > 0 && next_ < order_.size(); ++next_) {
      CALIPRESS_ASSIGN_OR_RETURN(const std::string text, documents_->Read(order_[next_]));
      auto ids = context_.tokenizer->Encode(text, /*add_special_tokens=*/true);
      if (!ids.ok()) return Annotate(ids.status(), documents_->name());
      CALIPRESS_RETURN_IF_ERROR(CheckTokenizerIds(*ids, context_.vocabulary));
      if (static_cast<int64_t>(ids->size()) < tokens_) {
        ++too_short_;
        continue;
      }
      ids->resize(tokens_);
      prefixes->push_back(*std::move(ids));
      --count;
    }
    return absl::OkStatus();
  }

  // "train.jsonl has 12 documents (of this draw), 3 of them shorter than the 64 tokens of a prefix"
  std::string Told() const {
    return absl::StrCat(documents_->name(), " has ", order_.size(), " documents",
                        order_.size() < static_cast<size_t>(documents_->size()) ? " for this draw" : "", ", ",
                        too_short_, " of them shorter than the ", tokens_, " tokens of a prefix");
  }

 private:
  Prefixes(const SourceContext& context, int64_t tokens) : context_(context), tokens_(tokens) {}

  const SourceContext& context_;
  const int64_t tokens_;
  std::unique_ptr<Documents> documents_;
  std::vector<int64_t> order_;
  size_t next_ = 0;
  int64_t too_short_ = 0;
};

// Those below the quantile of all perplexities, decoded, in the order in which they were written.
absl::StatusOr<std::vector<std::string>> Keep(const std::vector<ScoredSequence>& written, double drop_share,
                                              const tokenizer::Tokenizer& tokenizer) {
  std::vector<double> perplexities;
  for (const ScoredSequence& text : written) perplexities.push_back(text.Perplexity());
  const double limit = drop_share > 0.0 ? Quantile(perplexities, 1.0 - drop_share) : HUGE_VAL;
  std::vector<std::string> kept;
  for (size_t i = 0; i < written.size(); ++i) {
    if (perplexities[i] >= limit) continue;
    CALIPRESS_ASSIGN_OR_RETURN(kept.emplace_back(), tokenizer.Decode(written[i].ids, /*skip_special_tokens=*/true));
  }
  return kept;
}

// All of them as one row of ids.
absl::StatusOr<std::vector<int64_t>> Tokenize(const std::vector<std::string>& texts, bool joined,
                                              const SourceContext& context) {
  std::vector<std::string> parts = texts;
  if (joined) {
    std::string all;
    for (const std::string& text : texts) absl::StrAppend(&all, all.empty() ? "" : " ", text);
    parts = {std::move(all)};
  }
  std::vector<int64_t> row;
  for (const std::string& part : parts) {
    CALIPRESS_ASSIGN_OR_RETURN(const auto ids, context.tokenizer->Encode(part, /*add_special_tokens=*/true));
    CALIPRESS_RETURN_IF_ERROR(CheckTokenizerIds(ids, context.vocabulary));
    row.insert(row.end(), ids.begin(), ids.end());
  }
  return row;
}

GenerationRequest MakeRequest(const v1::PrefixGeneratedSource& source, const v1::Calibration& calibration,
                              const SourceContext& context) {
  GenerationRequest request;
  request.seed = calibration.seed();
  request.tokens = source.prefix_tokens() + source.max_new_tokens();
  request.initial_temperature = request.final_temperature = source.temperature();
  request.top_p = source.top_p();
  request.top_k = source.top_k();
  request.repetition_penalty = source.repetition_penalty();
  request.end_ids = context.end_ids;
  return request;
}

// Texts that `missing` tokens take where a text has `each` and `drop_share` of them goes.
int64_t TextsFor(int64_t missing, double each, double drop_share) {
  return std::max<int64_t>(2, static_cast<int64_t>(std::ceil(missing / std::max(1.0, each) / (1.0 - drop_share))));
}

}  // namespace

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  if (below + 1 >= values.size()) return values.back();
  return values[below] + (place - static_cast<double>(below)) * (values[below + 1] - values[below]);
}

absl::StatusOr<TokenMatrix> TokensFromPrefixes(const v1::PrefixGeneratedSource& source,
                                               const v1::Calibration& calibration, const SourceContext& context) {
  if (context.model == nullptr || context.tokenizer == nullptr) {
    return DefectError("a prefix-generated source without a model or a tokenizer");
  }
  const int64_t length = calibration.sequence_length();
  if (std::max<int64_t>(length, source.prefix_tokens() + source.max_new_tokens()) > context.max_positions) {
    return TooLittle(absl::StrCat("prefix_generated: sequences of ", length, " tokens, and texts of ",
                                  source.prefix_tokens(), " and ", source.max_new_tokens(),
                                  " more, are longer than the model's ", context.max_positions, " positions"));
  }
  CALIPRESS_ASSIGN_OR_RETURN(Prefixes prefixes, Prefixes::Open(source, calibration, context));
  const bool window = source.prefixes().layout() == v1::TEXT_LAYOUT_WINDOW;
  const int64_t needed = calibration.samples() * length;
  const int64_t least = source.has_texts() && window ? length : needed;
  GenerationRequest request = MakeRequest(source, calibration, context);

  std::vector<ScoredSequence> written;
  std::vector<int64_t> row;
  int64_t texts = source.has_texts() ? source.texts() : TextsFor(needed, request.tokens, source.drop_share());
  while (texts > 0) {
    request.prompts.clear();
    CALIPRESS_RETURN_IF_ERROR(prefixes.Take(texts, &request.prompts));
    const auto found = static_cast<int64_t>(request.prompts.size());
    if (found < texts && (source.has_texts() || found == 0)) {
      return TooLittle(absl::StrCat(
          "prefix_generated: ", prefixes.Told(), ", and ", static_cast<int64_t>(written.size()) + texts, " are needed",
          written.empty()
              ? ""
              : absl::StrCat(" (the ", written.size(), " texts that the model wrote have ", row.size(), " tokens, and ",
                             calibration.samples(), " samples of ", length, " need ", needed, ")"),
          ". Give more documents, or lower texts, prefix_tokens or calibration.samples"));
    }
    request.sequences = found;
    request.first_stream = FirstStream(calibration) + kFirstTextStream + written.size();
    CALIPRESS_ASSIGN_OR_RETURN(auto round, context.model->Generate(request));
    written.insert(written.end(), std::make_move_iterator(round.begin()), std::make_move_iterator(round.end()));
    CALIPRESS_ASSIGN_OR_RETURN(const auto kept, Keep(written, source.drop_share(), *context.tokenizer));
    CALIPRESS_ASSIGN_OR_RETURN(row, Tokenize(kept, window, context));
    const auto have = static_cast<int64_t>(row.size());
    texts = 0;
    if (have >= least) break;
    if (source.has_texts()) {
      return TooLittle(absl::StrCat("prefix_generated: the ", kept.size(), " of ", written.size(),
                                    " texts that were kept have ", have, " tokens, and ", calibration.samples(),
                                    " samples of ", length, " need ", least, "; raise texts, or leave it out"));
    }
    texts = TextsFor(needed - have, static_cast<double>(have) / static_cast<double>(std::max<size_t>(1, kept.size())),
                     source.drop_share());
  }

  TokenMatrix tokens;
  tokens.sequences = calibration.samples();
  tokens.length = length;
  if (!window) {
    row.resize(needed);
    tokens.ids = std::move(row);
    return tokens;
  }
  const uint64_t first = FirstStream(calibration) + kFirstWindowStream;
  for (int64_t i = 0; i < tokens.sequences; ++i) {
    const auto begin =
        row.begin() +
        static_cast<int64_t>(
            RandomStream(calibration.seed(), first + i).Below(row.size() - static_cast<size_t>(length) + 1));
    tokens.ids.insert(tokens.ids.end(), begin, begin + length);
  }
  return tokens;
}

}  // namespace calipress::calibration
