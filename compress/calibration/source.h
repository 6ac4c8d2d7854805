#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "calipress/v1/recipe.pb.h"
#include "calipress/v1/report.pb.h"
#include "compress/calibration/model_oracle.h"
#include "compress/storage/object_store.h"
#include "compress/tokenizer/tokenizer.h"

namespace calipress::calibration {

// Token ids [sequences, length], row-major.
struct TokenMatrix {
  int64_t sequences = 0;
  int64_t length = 0;
  std::vector<int64_t> ids;
  // Of a calibration set, what each source gave, in the recipe's order: the sequences of one source lie together, and
  // those of parts[0] come first. Empty for any other matrix.
  std::vector<v1::CalibrationPart> parts = {};
};

// What sources need from the model.
struct SourceContext {
  storage::ObjectStore& store;
  const tokenizer::Tokenizer* tokenizer;  // null for token_ids alone
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  // Null where no source and no filter asks the model anything.
  ModelOracle* model = nullptr;
  // What the model's texts begin and end with, as far as it says.
  std::optional<int64_t> begin_id = std::nullopt;
  std::vector<int64_t> end_ids = {};
  // The model's folder, whose chat template instructions go through.
  std::string model_uri = {};
};

// The calibration set of a resolved recipe: the sequences of every source, one source after the other, and the parts
// they came from. INVALID_CALIBRATION_DATA names the file (and line) for: a missing or empty file, too little text
// (needed and found counts, and what filters left out), a field that a line lacks, invalid JSON or UTF-8, conversations
// that the chat template refuses; ids outside the vocabulary; lengths beyond the model's positions, or that differ. The
// same recipe and files give the same ids anywhere.
absl::StatusOr<TokenMatrix> MakeCalibrationTokens(const v1::Calibration& calibration, const SourceContext& context);

// The windows of a perplexity text: documents joined with two newlines, tokenized once with the tokenizer's special
// tokens, cut, the tail dropped (methods.md 8.1).
absl::StatusOr<TokenMatrix> MakeEvaluationTokens(const v1::Perplexity& perplexity, const SourceContext& context);

// SHA-256 of the ids as little-endian int64.
std::string Fingerprint(const TokenMatrix& tokens);

// What the header of a file of ids says, from the file's first kTokenFileStartBytes (or all of a shorter one) and its
// size. Errors as ParseNpy.
struct TokenFileLayout {
  int64_t sequences = 0;
  int64_t length = 0;
  int id_bytes = 8;  // 4 or 8
  int64_t data_begin = 0;
};
inline constexpr int64_t kTokenFileStartBytes = 64 * 1024;
absl::StatusOr<TokenFileLayout> ParseNpyLayout(std::string_view start, int64_t file_bytes);
// The ids of a file of this layout.
TokenMatrix ReadTokenRows(std::string_view bytes, const TokenFileLayout& layout);

// .npy, version 1 to 3, int64 or int32 little-endian, C order, two dimensions. Untrusted bytes.
absl::StatusOr<TokenMatrix> ParseNpy(std::string_view bytes);
std::string FormatNpy(const TokenMatrix& tokens);

}  // namespace calipress::calibration
