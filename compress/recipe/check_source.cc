#include <cmath>

#include "absl/strings/str_cat.h"
#include "compress/recipe/data_kind.h"
#include "compress/recipe/part_checks.h"

namespace calipress::recipe {
namespace {

constexpr size_t kMaxDomainBytes = 128;

void CheckLayout(v1::TextLayout layout, const std::string& path, const Refuse& refuse) {
  if (!v1::TextLayout_IsValid(layout)) refuse(absl::StrCat(path, ".layout"), "must be pack or window");
}

void CheckKind(const v1::CalibrationSource& source, const std::string& path, const Refuse& refuse) {
  switch (source.source_case()) {
    case v1::CalibrationSource::kText:
      CheckTextUri(source.text().uri(), absl::StrCat(path, ".text.uri"), refuse);
      return CheckLayout(source.text().layout(), absl::StrCat(path, ".text"), refuse);
    case v1::CalibrationSource::kTokenIds: {
      const std::string& uri = source.token_ids().uri();
      CheckUri(uri, absl::StrCat(path, ".token_ids.uri"), refuse);
      if (!uri.empty() && !IsTokenIds(DataKindOf(uri))) {
        refuse(absl::StrCat(path, ".token_ids.uri"), "must name a .npy or a .safetensors file");
      }
      if (source.token_ids().first_row() < 0) {
        refuse(absl::StrCat(path, ".token_ids.first_row"),
               absl::StrCat("must be 0 or more, not ", source.token_ids().first_row()));
      }
      return;
    }
    case v1::CalibrationSource::kInstructions: {
      const std::string& uri = source.instructions().uri();
      CheckUri(uri, absl::StrCat(path, ".instructions.uri"), refuse);
      if (!uri.empty() && DataKindOf(uri) != DataKind::kJsonLines) {
        refuse(absl::StrCat(path, ".instructions.uri"),
               "must name a .jsonl file (or .jsonl.gz, .jsonl.zst, .jsonl.xz)");
      }
      return CheckLayout(source.instructions().layout(), absl::StrCat(path, ".instructions"), refuse);
    }
    case v1::CalibrationSource::kRandomVocabulary:
      return;
    case v1::CalibrationSource::kSelfGenerated:
    case v1::CalibrationSource::kPrefixGenerated:
      return CheckGenerated(source, path, refuse);
    case v1::CalibrationSource::SOURCE_NOT_SET:
      return refuse(path, "has no source; give text: {uri: ...} or token_ids: {uri: ...}");
  }
}

}  // namespace

void CheckFilter(const v1::Filter& filter, const std::string& path, const Refuse& refuse) {
  // The least perplexity there is is 1: every token foreseen.
  const auto perplexity = [&](const char* field, bool has, double value) {
    if (!has || (std::isfinite(value) && value >= 1)) return;
    refuse(absl::StrCat(path, ".", field), absl::StrCat("must be 1 or more, not ", value));
  };
  perplexity("min_perplexity", filter.has_min_perplexity(), filter.min_perplexity());
  perplexity("max_perplexity", filter.has_max_perplexity(), filter.max_perplexity());
  if (filter.has_min_perplexity() && filter.has_max_perplexity() && filter.min_perplexity() > filter.max_perplexity()) {
    refuse(absl::StrCat(path, ".min_perplexity"),
           absl::StrCat("is ", filter.min_perplexity(), ", above max_perplexity ", filter.max_perplexity()));
  }
  if (filter.has_near_duplicates() && !(filter.near_duplicates() > 0 && filter.near_duplicates() <= 1)) {
    refuse(absl::StrCat(path, ".near_duplicates"),
           absl::StrCat("must be above 0 and at most 1, not ", filter.near_duplicates(),
                        "; it is the share of runs of 5 tokens that two documents have in common"));
  }
  if (filter.has_min_tokens() && filter.min_tokens() < 1) {
    refuse(absl::StrCat(path, ".min_tokens"), absl::StrCat("must be at least 1, not ", filter.min_tokens()));
  }
  if (filter.has_max_tokens() && filter.max_tokens() < 1) {
    refuse(absl::StrCat(path, ".max_tokens"), absl::StrCat("must be at least 1, not ", filter.max_tokens()));
  }
  if (filter.has_min_tokens() && filter.has_max_tokens() && filter.min_tokens() > filter.max_tokens()) {
    refuse(absl::StrCat(path, ".min_tokens"),
           absl::StrCat("is ", filter.min_tokens(), ", above max_tokens ", filter.max_tokens()));
  }
}

void CheckSource(const v1::CalibrationSource& source, const std::string& path, const Refuse& refuse) {
  CheckKind(source, path, refuse);
  if (source.domain().size() > kMaxDomainBytes) {
    refuse(absl::StrCat(path, ".domain"), absl::StrCat("has more than ", kMaxDomainBytes, " bytes"));
  }
  if (source.has_samples() && source.samples() < 1) {
    refuse(absl::StrCat(path, ".samples"), absl::StrCat("must be at least 1, not ", source.samples()));
  }
  if (source.has_weight() && !(std::isfinite(source.weight()) && source.weight() >= 0)) {
    refuse(absl::StrCat(path, ".weight"), absl::StrCat("must be 0 or more, not ", source.weight()));
  }
  if (source.has_weight() && source.has_samples()) {
    refuse(absl::StrCat(path, ".weight"),
           "divides calibration.samples among sources without samples of their own, and this one has; remove one of "
           "the two");
  }
  if (source.has_filter()) CheckFilter(source.filter(), absl::StrCat(path, ".filter"), refuse);
}

}  // namespace calipress::recipe
