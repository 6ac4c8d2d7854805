#include "server/api/request_checks.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "compress/base/digest.h"
#include "compress/base/utf8.h"
#include "compress/recipe/recipe.h"
#include "compress/recipe/uris.h"
#include "compress/storage/object_store.h"

namespace calipress::api {
namespace {

constexpr std::string_view kNamePrefix = "compressionJobs/";
constexpr size_t kLongestUri = 2048;
constexpr size_t kLongestText = 256;
constexpr size_t kLongestToken = 1024;
constexpr int kMostLabels = 64;
constexpr int kMostWorkers = 1024;
constexpr size_t kLargestRecipe = 256 << 10;
// S3 copies objects of up to 5 GiB in one request, and Arrow does not copy by parts. The rest is room for the header.
constexpr int64_t kLargestS3Shard = 5'000'000'000;

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// [a-z][a-z0-9-]{0,61}[a-z0-9]
bool IsJobId(std::string_view id) {
  return id.size() >= 2 && id.size() <= 63 && IsLower(id.front()) && id.back() != '-' &&
         std::all_of(id.begin(), id.end(), [](char c) { return IsLower(c) || IsDigit(c) || c == '-'; });
}

bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : std::isxdigit(static_cast<unsigned char>(text[i])) == 0) return false;
  }
  return true;
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// Keys in a URI would be stored with the job, shown by Get and written into recipe.yaml.
bool HasCredentials(std::string_view uri) {
  const size_t start = uri.find("://");
  if (start == std::string_view::npos) return false;
  std::string_view rest = uri.substr(start + 3);
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  const size_t at = authority.rfind('@');
  if (at != std::string_view::npos) {
    // abfs://container@account has no secret; a password comes after ':'.
    if (storage::UriScheme(uri) != "abfs" || authority.substr(0, at).find(':') != std::string_view::npos) return true;
  }
  const size_t query = rest.find('?');
  if (query == std::string_view::npos) return false;
  std::string parameters(rest.substr(query));
  std::transform(parameters.begin(), parameters.end(), parameters.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* word : {"secret", "password", "token", "access_key", "account_key", "sig=", "credential"}) {
    if (parameters.find(word) != std::string::npos) return true;
  }
  return false;
}

void CheckUri(const std::string& field, const std::string& uri, std::vector<FieldViolation>* violations) {
  if (uri.size() > kLongestUri) {
    violations->push_back({field, absl::StrCat("has ", uri.size(), " bytes; at most ", kLongestUri, " are taken")});
    return;
  }
  if (const absl::Status status = storage::CheckUri(uri); !status.ok()) {
    violations->push_back({field, BoundedText({status.message().data(), status.message().size()}, 300)});
    return;
  }
  if (HasCredentials(uri)) {
    violations->push_back({field, "carries credentials; leave them to the environment of the coordinator and workers"});
  } else if (uri.find("://") == std::string::npos && !uri.starts_with('/')) {
    violations->push_back({field, absl::StrCat("'", BoundedText(uri, 100),
                                               "' is a relative path, and workers run elsewhere; give an absolute path "
                                               "or a URI")});
  }
}

void CheckIdentity(const v1::CreateCompressionJobRequest& request, std::vector<FieldViolation>* violations) {
  const std::string& id = request.compression_job_id();
  if (!id.empty() && !IsJobId(id)) {
    violations->push_back({"compression_job_id", absl::StrCat("'", BoundedText(id, 80),
                                                              "' is not of the form [a-z][a-z0-9-]{0,61}[a-z0-9]")});
  }
  if (!request.request_id().empty() && !IsUuid(request.request_id())) {
    violations->push_back({"request_id", "is not a UUID, as in 01234567-89ab-cdef-0123-456789abcdef"});
  }
  const v1::CompressionJob& job = request.compression_job();
  if (job.display_name().size() > kLongestText || HasControl(job.display_name())) {
    violations->push_back({"display_name", absl::StrCat("must be one line of at most ", kLongestText, " bytes")});
  }
  if (job.labels_size() > kMostLabels) {
    violations->push_back({"labels", absl::StrCat("has ", job.labels_size(), " entries; at most ", kMostLabels)});
    return;
  }
  for (const auto& [key, value] : job.labels()) {
    const std::string field = absl::StrCat("labels[", BoundedText(key, 63), "]");
    if (key.empty() || key.size() > 63 || HasControl(key)) {
      violations->push_back({field, "the key must have 1 to 63 bytes and no control characters"});
    } else if (value.size() > kLongestText || HasControl(value)) {
      violations->push_back({field, absl::StrCat("must be one line of at most ", kLongestText, " bytes")});
    }
  }
}

void CheckPlacement(const v1::Placement& placement, std::vector<FieldViolation>* violations) {
  if (placement.workers() < 0 || placement.workers() > kMostWorkers) {
    violations->push_back({"placement.workers", absl::StrCat("is ", placement.workers(), "; give 0 (as many as are ",
                                                             "idle) to ", kMostWorkers)});
  }
  if (!placement.device().empty() && placement.device() != "cpu" && placement.device() != "cuda") {
    violations->push_back({"placement.device", absl::StrCat("'", BoundedText(placement.device(), 40),
                                                            "' is not a device; give cpu, cuda or nothing")});
  }
}

std::vector<FieldViolation> CheckRecipe(const v1::CompressionJob& job) {
  if (!job.has_recipe()) return {{"recipe", "is required"}};
  if (job.recipe().ByteSizeLong() > kLargestRecipe) {
    return {{"recipe", absl::StrCat("has ", job.recipe().ByteSizeLong(), " bytes; at most ", kLargestRecipe)}};
  }
  std::vector<FieldViolation> violations = recipe::Validate(job.recipe(), !job.output().empty(), "recipe");
  if (storage::UriScheme(job.output()) == "s3" && job.recipe().output().max_shard_bytes() > kLargestS3Shard) {
    violations.push_back({"recipe.output.max_shard_bytes",
                          absl::StrCat("is ", job.recipe().output().max_shard_bytes(), "; shards are moved on s3:// ",
                                       "by one copy each, which S3 does up to 5 GiB: give at most ", kLargestS3Shard)});
  }
  for (const RecipeUri& uri : UrisOf(job.recipe())) {
    // An empty one is Validate's to report.
    if (!uri.uri.empty()) CheckUri(uri.field, uri.uri, &violations);
  }
  return violations;
}

absl::Status RequestError(const std::vector<FieldViolation>& violations) {
  return violations.empty() ? absl::OkStatus() : ViolationsError(reason::kInvalidRequest, violations);
}

void CheckNameField(std::string_view name, std::vector<FieldViolation>* violations) {
  if (name.starts_with(kNamePrefix) && IsJobId(name.substr(kNamePrefix.size()))) return;
  violations->push_back(
      {"name", absl::StrCat("'", BoundedText(name, 80), "' is not a job's name: compressionJobs/{id}")});
}

}  // namespace

absl::Status CheckCreate(const v1::CreateCompressionJobRequest& request) {
  if (!request.has_compression_job()) return RequestError({{"compression_job", "is required"}});
  const v1::CompressionJob& job = request.compression_job();
  std::vector<FieldViolation> violations;
  CheckIdentity(request, &violations);
  if (job.model().empty()) {
    violations.push_back({"model", "is required: path or URI of a Hugging Face model folder"});
  } else {
    CheckUri("model", job.model(), &violations);
  }
  if (!job.output().empty()) CheckUri("output", job.output(), &violations);
  CheckPlacement(job.placement(), &violations);
  const bool recipe_alone = violations.empty();
  for (FieldViolation& violation : CheckRecipe(job)) violations.push_back(std::move(violation));
  if (violations.empty()) return absl::OkStatus();
  return ViolationsError(recipe_alone ? reason::kInvalidRecipe : reason::kInvalidRequest, violations);
}

absl::Status CheckList(const v1::ListCompressionJobsRequest& request) {
  std::vector<FieldViolation> violations;
  if (request.page_size() < 0) {
    violations.push_back({"page_size", absl::StrCat("is ", request.page_size(), "; give 0 (default) or more")});
  }
  if (request.page_token().size() > kLongestToken) {
    violations.push_back({"page_token", "is not a token of a previous answer"});
  }
  for (int i = 0; i < request.states_size(); ++i) {
    if (request.states(i) == v1::CompressionJob::STATE_UNSPECIFIED ||
        !v1::CompressionJob::State_IsValid(request.states(i))) {
      violations.push_back({absl::StrCat("states[", i, "]"), "is not a state that a job can have"});
    }
  }
  return RequestError(violations);
}

absl::Status CheckCancel(const v1::CancelCompressionJobRequest& request) {
  std::vector<FieldViolation> violations;
  CheckNameField(request.name(), &violations);
  if (request.etag().size() > kLongestText) violations.push_back({"etag", "is not an etag of a job"});
  return RequestError(violations);
}

absl::Status CheckWatch(const v1::WatchCompressionJobRequest& request) {
  std::vector<FieldViolation> violations;
  CheckNameField(request.name(), &violations);
  if (request.after_sequence() < 0) {
    violations.push_back({"after_sequence", absl::StrCat("is ", request.after_sequence(), "; give 0 (all) or more")});
  }
  return RequestError(violations);
}

absl::Status CheckName(std::string_view name) {
  std::vector<FieldViolation> violations;
  CheckNameField(name, &violations);
  return RequestError(violations);
}

std::vector<RecipeSource> SourcesOf(const v1::Recipe& recipe) {
  std::vector<RecipeSource> sources;
  const auto add = [&](const auto& list, const std::string& path) {
    for (int i = 0; i < list.size(); ++i) sources.push_back({absl::StrCat(path, ".sources[", i, "]"), &list[i]});
  };
  add(recipe.calibration().sources(), "recipe.calibration");
  for (int s = 0; s < recipe.study().sources_size(); ++s) {
    add(recipe.study().sources(s).sources(), absl::StrCat("recipe.study.sources[", s, "]"));
  }
  return sources;
}

std::vector<RecipeUri> UrisOf(const v1::Recipe& recipe) {
  std::vector<RecipeUri> uris;
  v1::Recipe visited = recipe;
  recipe::ForEachUri(&visited, [&](const std::string& field, std::string* uri) { uris.push_back({field, *uri}); });
  return uris;
}

std::string RequestDigest(const v1::CreateCompressionJobRequest& request) {
  v1::CreateCompressionJobRequest body;
  *body.mutable_compression_job() = request.compression_job();
  body.set_compression_job_id(request.compression_job_id());
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    body.SerializeToCodedStream(&coded);
  }
  return Sha256Of(bytes);
}

}  // namespace calipress::api
