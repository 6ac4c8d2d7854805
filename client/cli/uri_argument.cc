#include "client/cli/uri_argument.h"

#include <filesystem>
#include <system_error>

namespace calipress::cli {
namespace {

constexpr std::string_view kCollection = "compressionJobs/";

}  // namespace

std::string UriArgument(std::string_view text) {
  if (text.empty() || text.find("://") != std::string_view::npos) return std::string(text);
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(std::filesystem::path(text), error);
  if (error) return std::string(text);  // the current folder is gone; the server says what it thinks of the path
  std::string path = absolute.lexically_normal().string();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

void MakeUrisAbsolute(v1::Recipe* recipe) {
  // Looked at first, so that a recipe without these parts gets none.
  if (recipe->has_calibration()) {
    for (v1::CalibrationSource& source : *recipe->mutable_calibration()->mutable_sources()) {
      if (source.has_text()) source.mutable_text()->set_uri(UriArgument(source.text().uri()));
      if (source.has_prefix_generated()) {
        v1::TextSource* prefixes = source.mutable_prefix_generated()->mutable_prefixes();
        prefixes->set_uri(UriArgument(prefixes->uri()));
      }
      if (source.has_token_ids()) source.mutable_token_ids()->set_uri(UriArgument(source.token_ids().uri()));
      if (source.has_instructions()) source.mutable_instructions()->set_uri(UriArgument(source.instructions().uri()));
      if (source.has_prefix_generated()) {
        auto* prefixes = source.mutable_prefix_generated()->mutable_prefixes();
        prefixes->set_uri(UriArgument(prefixes->uri()));
      }
    }
  }
  if (recipe->has_evaluation()) {
    v1::Evaluation* evaluation = recipe->mutable_evaluation();
    for (v1::Perplexity& text : *evaluation->mutable_perplexity()) text.set_uri(UriArgument(text.uri()));
    for (v1::MultipleChoice& task : *evaluation->mutable_multiple_choice()) task.set_uri(UriArgument(task.uri()));
    for (v1::LastWord& task : *evaluation->mutable_last_word()) task.set_uri(UriArgument(task.uri()));
    evaluation->set_reference(UriArgument(evaluation->reference()));
  }
}

std::string JobName(std::string_view text) {
  return text.substr(0, kCollection.size()) == kCollection ? std::string(text)
                                                           : std::string(kCollection) + std::string(text);
}

}  // namespace calipress::cli
