#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "compress/calibration/source.h"
#include "compress/calibration/source_request.h"
#include "compress/tokenizer/chat_template.h"

namespace calipress::calibration {

// Sequences from conversations (LayOutDocuments), each as the model's chat template writes it. The template has the
// special tokens in it, so that tokenizing adds none.
absl::StatusOr<SourceTokens> TokensFromInstructions(const v1::InstructionsSource& source, const SourceRequest& request,
                                                    const SourceContext& context);

// The template of a model's folder: chat_template.jinja, or chat_template in tokenizer_config.json. Errors name the
// folder: SOURCE_MODEL_CORRUPT where there is none, or one that cannot be read.
absl::StatusOr<std::unique_ptr<tokenizer::ChatTemplate>> OpenChatTemplate(storage::ObjectStore& store,
                                                                          const std::string& model_uri);

}  // namespace calipress::calibration
