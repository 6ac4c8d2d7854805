#include "compress/calibration/prefix_generated_source.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/random.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/documents.h"
#include "compress/calibration/draw_order.h"
#include "compress/calibration/filter.h"
#include "compress/calibration/id_range.h"
#include "compress/calibration/self_generated_source.h"

namespace calipress::calibration {
namespace {

// A filter that the model's texts do not pass must not go on for ever.
constexpr int64_t kTries = 20;
constexpr uint64_t kFirstTextStream = 1;  // stream 0 orders the documents
constexpr uint64_t kFirstWindowStream = uint64_t{1} << 31;

absl::Status TooLittle(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

// The beginnings of documents, in shuffled order.
class Prefixes {
 public:
  static absl::StatusOr<Prefixes> Open(const v1::PrefixGeneratedSource& source, const SourceRequest& request,
                                       const SourceContext& context) {
    CALIPRESS_ASSIGN_OR_RETURN(auto documents,
                               Documents::Open(context.store, source.prefixes().uri(), source.prefixes().field()));
    return Prefixes(std::move(documents), source.prefix_tokens(), request, context);
  }

  // Adds up to `count` more; fewer where the documents end.
  absl::Status Take(int64_t count, std::vector<std::vector<int64_t>>* prefixes) {
    while (count > 0 && !order_.empty()) {
      CALIPRESS_ASSIGN_OR_RETURN(const std::string text, documents_->Read(order_.Next()));
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
                        order_.size() < documents_->size() ? " for this draw" : "", ", ", too_short_,
                        " of them shorter than the ", tokens_, " tokens of a prefix");
  }

 private:
  Prefixes(std::unique_ptr<Documents> documents, int64_t tokens, const SourceRequest& request,
           const SourceContext& context)
      : context_(context), tokens_(tokens), documents_(std::move(documents)), order_(documents_->size(), request) {}

  const SourceContext& context_;
  const int64_t tokens_;
  std::unique_ptr<Documents> documents_;
  DrawOrder order_;
  int64_t too_short_ = 0;
};

// Texts that were written, one by one; more may be added behind the last.
class WrittenTexts : public ItemStream {
 public:
  explicit WrittenTexts(const std::vector<ScoredSequence>& texts) : texts_(texts) {}
  absl::StatusOr<std::optional<Item>> Next() override {
    if (next_ == texts_.size()) return std::nullopt;
    Item item{.number = static_cast<int64_t>(next_), .ids = texts_[next_].ids};
    ++next_;
    return item;
  }

 private:
  const std::vector<ScoredSequence>& texts_;
  size_t next_ = 0;
};

// All texts that were written, in rounds, and what stays of them.
class Texts {
 public:
  Texts(double drop_share, const SourceRequest& request, const SourceContext& context)
      : drop_share_(drop_share), context_(context), items_(stream_, request.filter, request.length, context.model) {}

  int64_t written() const { return static_cast<int64_t>(written_.size()); }

  // Those of one more round. The filter sees each text once.
  absl::Status Add(std::vector<ScoredSequence> round) {
    written_.insert(written_.end(), std::make_move_iterator(round.begin()), std::make_move_iterator(round.end()));
    for (;;) {
      CALIPRESS_ASSIGN_OR_RETURN(const std::optional<Item> item, items_.Next());
      if (!item) return absl::OkStatus();
      passed_.push_back(item->number);
    }
  }

  // Of those that the filter keeps the ones that are not dropped, decoded, in the order in which they were written.
  absl::StatusOr<std::vector<std::string>> Kept() const {
    std::vector<double> perplexities;
    perplexities.reserve(passed_.size());
    for (const int64_t number : passed_) perplexities.push_back(written_[number].Perplexity());
    std::vector<std::string> texts;
    for (const size_t place : WithoutTheHighest(perplexities, drop_share_)) {
      CALIPRESS_ASSIGN_OR_RETURN(
          texts.emplace_back(), context_.tokenizer->Decode(written_[passed_[place]].ids, /*skip_special_tokens=*/true));
    }
    return texts;
  }

  // Of the filter.
  std::string Account() const { return items_.Account(); }

 private:
  const double drop_share_;
  const SourceContext& context_;
  std::vector<ScoredSequence> written_;
  WrittenTexts stream_{written_};
  FilteredStream items_;
  std::vector<int64_t> passed_;  // numbers of texts
};

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

GenerationRequest MakeRequest(const v1::PrefixGeneratedSource& source, const SourceRequest& wanted,
                              const SourceContext& context) {
  GenerationRequest request;
  request.seed = wanted.seed;
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

std::vector<size_t> WithoutTheHighest(const std::vector<double>& values, double share) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (share <= 0.0 || values.size() < 2) return order;
  // As many as lie below the quantile where all differ (methods.md 4.1); of equal ones the last go.
  const auto kept = static_cast<size_t>(std::ceil((1.0 - share) * static_cast<double>(values.size() - 1)));
  const auto rank = [&](size_t i) { return std::isnan(values[i]) ? HUGE_VAL : values[i]; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rank(a) < rank(b); });
  order.resize(kept);
  std::sort(order.begin(), order.end());
  return order;
}

absl::StatusOr<SourceTokens> TokensFromPrefixes(const v1::PrefixGeneratedSource& source, const SourceRequest& wanted,
                                                const SourceContext& context) {
  if (context.model == nullptr || context.tokenizer == nullptr) {
    return DefectError("a prefix-generated source without a model or a tokenizer");
  }
  const int64_t length = wanted.length;
  if (std::max<int64_t>(length, source.prefix_tokens() + source.max_new_tokens()) > context.max_positions) {
    return TooLittle(absl::StrCat("prefix_generated: sequences of ", length, " tokens, and texts of ",
                                  source.prefix_tokens(), " and ", source.max_new_tokens(),
                                  " more, are longer than the model's ", context.max_positions, " positions"));
  }
  CALIPRESS_ASSIGN_OR_RETURN(Prefixes prefixes, Prefixes::Open(source, wanted, context));
  const bool window = source.prefixes().layout() == v1::TEXT_LAYOUT_WINDOW;
  const int64_t needed = wanted.sequences * length;
  const int64_t least = source.has_texts() && window ? length : needed;
  GenerationRequest request = MakeRequest(source, wanted, context);

  Texts all(source.drop_share(), wanted, context);
  SourceTokens tokens{.sequences = wanted.sequences, .length = length, .ids = {}};
  std::vector<int64_t> row;
  const int64_t first_round = TextsFor(needed, request.tokens, source.drop_share());
  int64_t texts = source.has_texts() ? source.texts() : first_round;
  while (texts > 0) {
    request.prompts.clear();
    CALIPRESS_RETURN_IF_ERROR(prefixes.Take(texts, &request.prompts));
    const auto found = static_cast<int64_t>(request.prompts.size());
    if (found < texts && (source.has_texts() || found == 0)) {
      return TooLittle(absl::StrCat(
          "prefix_generated: ", prefixes.Told(), ", and ", all.written() + texts, " are needed",
          all.written() == 0
              ? ""
              : absl::StrCat(" (the ", all.written(), " texts that the model wrote have ", row.size(), " tokens, and ",
                             wanted.sequences, " samples of ", length, " need ", needed, ")"),
          ". Give more documents, or lower texts, prefix_tokens or calibration.samples"));
    }
    request.sequences = found;
    request.first_stream = FirstStream(wanted) + kFirstTextStream + all.written();
    CALIPRESS_ASSIGN_OR_RETURN(auto round, context.model->Generate(request));
    CALIPRESS_RETURN_IF_ERROR(all.Add(std::move(round)));
    CALIPRESS_ASSIGN_OR_RETURN(const std::vector<std::string> kept, all.Kept());
    CALIPRESS_ASSIGN_OR_RETURN(row, Tokenize(kept, window, context));
    tokens.filtered = all.written() - static_cast<int64_t>(kept.size());
    const auto have = static_cast<int64_t>(row.size());
    texts = 0;
    if (have >= least) break;
    if (source.has_texts()) {
      return TooLittle(absl::StrCat("prefix_generated: the ", kept.size(), " of ", all.written(),
                                    " texts that were kept have ", have, " tokens, and ", wanted.sequences,
                                    " samples of ", length, " need ", least, all.Account(),
                                    "; raise texts, or leave it out"));
    }
    // Where all were left out, as many again: how long those are that stay is not known yet.
    texts = kept.empty() ? all.written()
                         : TextsFor(needed - have, static_cast<double>(have) / static_cast<double>(kept.size()),
                                    source.drop_share());
    if (kept.empty() && all.written() >= kTries * first_round) {
      return TooLittle(absl::StrCat("prefix_generated: of ", all.written(), " texts that the model wrote none was kept",
                                    all.Account(), "; widen the filter, or lower drop_share"));
    }
  }

  tokens.documents = all.written();
  if (!window) {
    row.resize(needed);
    tokens.ids = std::move(row);
    return tokens;
  }
  const uint64_t first = FirstStream(wanted) + kFirstWindowStream;
  for (int64_t i = 0; i < tokens.sequences; ++i) {
    const auto begin =
        row.begin() +
        static_cast<int64_t>(RandomStream(wanted.seed, first + i).Below(row.size() - static_cast<size_t>(length) + 1));
    tokens.ids.insert(tokens.ids.end(), begin, begin + length);
  }
  return tokens;
}

}  // namespace calipress::calibration
