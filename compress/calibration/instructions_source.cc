#include "compress/calibration/instructions_source.h"

#include <utility>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/documents.h"
#include "compress/calibration/lay_out.h"

namespace calipress::calibration {
namespace {

constexpr int64_t kMaxTemplateBytes = 4 << 20;
constexpr int64_t kMaxConfigBytes = 64 << 20;

// Empty where there is no such file.
absl::StatusOr<std::string> ReadIfThere(storage::ObjectStore& store, const std::string& uri, int64_t limit) {
  auto text = store.ReadAll(uri, limit);
  if (absl::IsNotFound(text.status())) return std::string();
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<tokenizer::ChatTemplate>> OpenChatTemplate(storage::ObjectStore& store,
                                                                          const std::string& model_uri) {
  CALIPRESS_ASSIGN_OR_RETURN(const std::string jinja,
                             ReadIfThere(store, storage::JoinUri(model_uri, "chat_template.jinja"), kMaxTemplateBytes));
  CALIPRESS_ASSIGN_OR_RETURN(const std::string config,
                             ReadIfThere(store, storage::JoinUri(model_uri, "tokenizer_config.json"), kMaxConfigBytes));
  auto made = tokenizer::ChatTemplate::FromFiles(jinja, config);
  if (!made.ok()) return Annotate(made.status(), storage::RedactUri(model_uri));
  return made;
}

absl::StatusOr<SourceTokens> TokensFromInstructions(const v1::InstructionsSource& source, const SourceRequest& request,
                                                    const SourceContext& context) {
  if (context.tokenizer == nullptr || context.model_uri.empty()) {
    return DefectError("instructions without a tokenizer or the model's folder");
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto chat_template, OpenChatTemplate(context.store, context.model_uri));
  CALIPRESS_ASSIGN_OR_RETURN(const auto documents,
                             Documents::Open(context.store, source.uri(), source.field(), RowKind::kMessages));
  const auto encode = [&](const std::string& messages) -> absl::StatusOr<std::vector<int64_t>> {
    CALIPRESS_ASSIGN_OR_RETURN(const std::string text, chat_template->Render(messages));
    return context.tokenizer->Encode(text, /*add_special_tokens=*/false);
  };
  return LayOutDocuments(*documents, source.layout(), encode, request, context);
}

}  // namespace calipress::calibration
