#include "compress/calibration/stop_words.h"

#include <cctype>
#include <set>
#include <string>
#include <string_view>

#include "compress/base/error.h"

namespace calipress::calibration {
namespace {

// Articles, pronouns, prepositions, conjunctions, auxiliaries and common adverbs.
constexpr std::string_view kWords[] = {
    "a",          "about",     "above",     "across",     "after",      "again",     "against",   "all",   "almost",
    "along",      "already",   "also",      "although",   "always",     "am",        "among",     "an",    "and",
    "another",    "any",       "anyone",    "anything",   "are",        "around",    "as",        "at",    "back",
    "be",         "because",   "become",    "been",       "before",     "behind",    "being",     "below", "beside",
    "between",    "beyond",    "both",      "but",        "by",         "can",       "could",     "did",   "do",
    "does",       "doing",     "done",      "down",       "during",     "each",      "either",    "else",  "enough",
    "even",       "ever",      "every",     "everyone",   "everything", "few",       "first",     "for",   "from",
    "further",    "get",       "give",      "go",         "had",        "has",       "have",      "he",    "hence",
    "her",        "here",      "hers",      "herself",    "him",        "himself",   "his",       "how",   "however",
    "i",          "if",        "in",        "indeed",     "instead",    "into",      "is",        "it",    "its",
    "itself",     "just",      "last",      "least",      "less",       "made",      "make",      "many",  "may",
    "me",         "might",     "mine",      "more",       "most",       "much",      "must",      "my",    "myself",
    "neither",    "never",     "next",      "no",         "nobody",     "none",      "nor",       "not",   "nothing",
    "now",        "of",        "off",       "often",      "on",         "once",      "one",       "only",  "onto",
    "or",         "other",     "others",    "our",        "ours",       "ourselves", "out",       "over",  "own",
    "per",        "perhaps",   "please",    "put",        "quite",      "rather",    "really",    "same",  "say",
    "see",        "seem",      "several",   "she",        "should",     "show",      "since",     "so",    "some",
    "someone",    "something", "sometimes", "still",      "such",       "take",      "than",      "that",  "the",
    "their",      "theirs",    "them",      "themselves", "then",       "there",     "therefore", "these", "they",
    "this",       "those",     "though",    "through",    "thus",       "to",        "together",  "too",   "toward",
    "towards",    "two",       "under",     "until",      "up",         "upon",      "us",        "using", "various",
    "very",       "was",       "we",        "well",       "were",       "what",      "whatever",  "when",  "where",
    "whether",    "which",     "while",     "who",        "whole",      "whom",      "whose",     "why",   "will",
    "with",       "within",    "without",   "would",      "yet",        "you",       "your",      "yours", "yourself",
    "yourselves",
};

}  // namespace

absl::StatusOr<std::vector<int64_t>> StopWordIds(const tokenizer::Tokenizer& tokenizer) {
  std::set<int64_t> found;
  for (const std::string_view word : kWords) {
    std::string title(word);
    title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(title[0])));
    for (const std::string& cased : {std::string(word), title}) {
      for (const char* const before : {"", " "}) {
        auto ids = tokenizer.Encode(before + cased, /*add_special_tokens=*/false);
        if (!ids.ok()) return ids.status();
        if (ids->size() == 1) found.insert(ids->front());
      }
    }
  }
  if (!found.empty()) return std::vector<int64_t>(found.begin(), found.end());
  return UserError(reason::kInvalidCalibrationData,
                   "the model's tokenizer has no English stop word as one token; give first_tokens: any");
}

}  // namespace calipress::calibration
