#include "compress/recipe/resolve_parts.h"

namespace calipress::recipe {
namespace {

void Default(std::string* field, const char* value) {
  if (field->empty()) *field = value;
}

constexpr char kDomain[] = "general";

}  // namespace

void ResolveEvaluation(int32_t default_length, v1::Evaluation* evaluation) {
  if (!evaluation->has_divergence()) evaluation->set_divergence(true);
  for (v1::Perplexity& text : *evaluation->mutable_perplexity()) {
    Default(text.mutable_field(), "text");
    Default(text.mutable_domain(), kDomain);
    if (!text.has_sequence_length()) text.set_sequence_length(default_length);
  }
  for (v1::MultipleChoice& task : *evaluation->mutable_multiple_choice()) {
    Default(task.mutable_context_field(), "context");
    Default(task.mutable_choices_field(), "choices");
    Default(task.mutable_answer_field(), "answer");
    Default(task.mutable_domain(), kDomain);
    if (!task.has_delimiter()) task.set_delimiter(" ");
  }
  for (v1::LastWord& task : *evaluation->mutable_last_word()) {
    Default(task.mutable_field(), "text");
    Default(task.mutable_domain(), kDomain);
  }
}

}  // namespace calipress::recipe
