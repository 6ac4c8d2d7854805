#include "server/api/source_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/arch/text_ends.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/tokenizer/tokenizer.h"

namespace calipress::api {
namespace {

constexpr int64_t kLargestConfig = 4 << 20;
constexpr int64_t kLargestTokenizer = 100'000'000;
constexpr size_t kShownProblems = 5;

int64_t Elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

// Looks tensors up and remembers what is wrong with them.
class TensorCheck {
 public:
  explicit TensorCheck(const checkpoint::ModelReader& reader) : reader_(reader) {}

  // Bytes of the tensor, 0 where it is not as it should be.
  int64_t Look(const std::string& name, const std::vector<int64_t>& shape, std::optional<Dtype> dtype) {
    const checkpoint::TensorInfo* tensor = reader_.Find(name);
    if (tensor == nullptr) {
      problems_.push_back(absl::StrCat("no tensor ", name));
    } else if (tensor->shape != shape) {
      problems_.push_back(
          absl::StrCat(name, " has shape ", ShapeText(tensor->shape), ", config.json says ", ShapeText(shape)));
    } else if (dtype ? tensor->dtype != *dtype : !IsFloating(tensor->dtype)) {
      problems_.push_back(absl::StrCat(name, " is ", std::string(DtypeName(tensor->dtype)), ", not ",
                                       dtype ? std::string(DtypeName(*dtype)) : "a floating dtype"));
    } else {
      return tensor->bytes;
    }
    return 0;
  }

  bool Has(const std::string& name) const { return reader_.Find(name) != nullptr; }

  // Of a vector; 0 where there is none of that name.
  int64_t Length(const std::string& name) const {
    const checkpoint::TensorInfo* tensor = reader_.Find(name);
    return tensor == nullptr || tensor->shape.size() != 1 ? 0 : tensor->shape[0];
  }

  absl::Status Result(const std::string& uri) const {
    if (problems_.empty()) return absl::OkStatus();
    const std::vector<std::string> shown(problems_.begin(),
                                         problems_.begin() + std::min(problems_.size(), kShownProblems));
    std::string message = absl::StrCat("model ", storage::RedactUri(uri),
                                       " does not match its config.json: ", absl::StrJoin(shown, "; "));
    if (problems_.size() > shown.size()) {
      absl::StrAppend(&message, "; and ", problems_.size() - shown.size(), " more");
    }
    return PreconditionError(reason::kSourceModelCorrupt, message);
  }

 private:
  const checkpoint::ModelReader& reader_;
  std::vector<std::string> problems_;
};

// The tensors that hold a linear which is not dense.
std::vector<checkpoint::TensorPlan> PackedPlan(const arch::LinearSpec& linear,
                                               const checkpoint::QuantizationConfig& quantization, Dtype dtype,
                                               const TensorCheck& check) {
  const checkpoint::SpqrScheme* spqr = quantization.SpqrSchemeOf(linear.module);
  if (spqr == nullptr) {
    return quantization.format->Plan(linear.module, linear.out, linear.in, *quantization.SchemeOf(linear.module),
                                     dtype);
  }
  // Their count is in the offsets, which are not read here; columns and values have to agree on it.
  return checkpoint::SpqrLinearPlan(linear.module, linear.out, linear.in, *spqr, dtype,
                                    check.Length(linear.module + ".outlier_values"));
}

// Bytes of a block's tensors as they lie in the checkpoint.
int64_t LookAtBlock(const arch::ArchSpec& spec, int64_t block, const checkpoint::QuantizationConfig& quantization,
                    TensorCheck* check) {
  std::map<std::string, const arch::LinearSpec*> packed;
  const std::vector<arch::LinearSpec> linears = arch::BlockLinears(spec, block);
  for (const arch::LinearSpec& linear : linears) {
    if (quantization.SchemeOf(linear.module) != nullptr || quantization.SpqrSchemeOf(linear.module) != nullptr)
      packed[linear.module + ".weight"] = &linear;
  }
  int64_t bytes = 0;
  for (const arch::TensorSpec& tensor : arch::BlockTensors(spec, block)) {
    const auto found = packed.find(tensor.name);
    if (found == packed.end()) {
      bytes += check->Look(tensor.name, tensor.shape, std::nullopt);
      continue;
    }
    const arch::LinearSpec& linear = *found->second;
    for (const checkpoint::TensorPlan& plan : PackedPlan(linear, quantization, spec.dtype, *check)) {
      // Which is redundant where groups are runs of columns, and left out by some writers.
      if (plan.name.ends_with(".g_idx") && !check->Has(plan.name)) continue;
      // Scales may be kept in another floating dtype than the model's.
      bytes +=
          check->Look(plan.name, plan.shape, IsFloating(plan.dtype) ? std::nullopt : std::optional<Dtype>(plan.dtype));
    }
  }
  return bytes;
}

}  // namespace

absl::StatusOr<SourceModel> InspectModel(storage::ObjectStore& store, const std::string& uri) {
  auto config = store.ReadAll(storage::JoinUri(uri, "config.json"), kLargestConfig);
  if (absl::IsNotFound(config.status())) {
    return MakeError(absl::StatusCode::kNotFound, reason::kSourceModelNotFound, ErrorClass::kUser,
                     absl::StrCat("there is no ", storage::RedactUri(storage::JoinUri(uri, "config.json")),
                                  "; give a Hugging Face model folder that the coordinator can read"));
  }
  if (!config.ok()) return config.status();
  SourceModel model;
  CALIPRESS_ASSIGN_OR_RETURN(model.spec, arch::ParseConfig(*config));
  CALIPRESS_ASSIGN_OR_RETURN(const auto quantization, checkpoint::ParseQuantizationConfig(*config));
  model.quantized = !quantization.empty();
  CALIPRESS_ASSIGN_OR_RETURN(const auto reader, checkpoint::ModelReader::Open(store, uri));

  TensorCheck check(*reader);
  for (const arch::TensorSpec& tensor : arch::OuterTensors(model.spec)) {
    model.outer_bytes += check.Look(tensor.name, tensor.shape, std::nullopt);
    model.parameters += Elements(tensor.shape);
  }
  model.bytes = model.outer_bytes;
  for (int64_t block = 0; block < model.spec.blocks; ++block) {
    const int64_t bytes = LookAtBlock(model.spec, block, quantization, &check);
    model.bytes += bytes;
    model.largest_block = std::max(model.largest_block, bytes);
    for (const arch::TensorSpec& tensor : arch::BlockTensors(model.spec, block)) {
      model.parameters += Elements(tensor.shape);
    }
  }
  CALIPRESS_RETURN_IF_ERROR(check.Result(uri));
  return model;
}

absl::Status CheckTokenizer(storage::ObjectStore& store, const std::string& uri, const arch::ArchSpec& spec) {
  const std::string file = storage::JoinUri(uri, "tokenizer.json");
  auto json = store.ReadAll(file, kLargestTokenizer);
  if (absl::IsNotFound(json.status())) {
    return PreconditionError(
        reason::kSourceModelCorrupt,
        absl::StrCat("there is no ", storage::RedactUri(file),
                     ", which the recipe's texts need; add it, or give token_ids and no perplexity"));
  }
  if (!json.ok()) return json.status();
  auto tokenizer = tokenizer::Tokenizer::FromJson(*json);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), storage::RedactUri(file));
  if ((*tokenizer)->vocabulary_size() > spec.vocabulary) {
    return PreconditionError(
        reason::kSourceModelCorrupt,
        absl::StrCat(storage::RedactUri(file), " has ids up to ", (*tokenizer)->vocabulary_size() - 1,
                     ", the model's embedding only ", spec.vocabulary,
                     " rows (vocab_size in config.json): this tokenizer belongs "
                     "to another model"));
  }
  return absl::OkStatus();
}

absl::Status CheckTextBegins(storage::ObjectStore& store, const std::string& uri, const arch::ArchSpec& spec,
                             const std::vector<std::string>& sources) {
  std::vector<FieldViolation> violations;
  for (const std::string& source : sources) {
    violations.push_back({absl::StrCat(source, ".self_generated"),
                          "the model has no token to begin a text with: neither generation_config.json nor config.json "
                          "has a bos_token_id; use prefix_generated, or text"});
  }
  if (violations.empty()) return absl::OkStatus();
  CALIPRESS_ASSIGN_OR_RETURN(const std::string config,
                             store.ReadAll(storage::JoinUri(uri, "config.json"), kLargestConfig));
  auto generation = store.ReadAll(storage::JoinUri(uri, "generation_config.json"), kLargestConfig);
  if (!generation.ok() && !absl::IsNotFound(generation.status())) return generation.status();
  CALIPRESS_ASSIGN_OR_RETURN(const arch::TextEnds ends,
                             arch::ParseTextEnds(config, generation.ok() ? *generation : "", spec.vocabulary));
  return ends.begin ? absl::OkStatus() : ViolationsError(reason::kInvalidCalibrationData, violations);
}

}  // namespace calipress::api
