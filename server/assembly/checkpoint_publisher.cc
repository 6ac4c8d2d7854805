#include "server/assembly/checkpoint_publisher.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "compress/arch/arch.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/checkpoint/publication/marker.h"
#include "compress/checkpoint/publication/source_files.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/recipe/recipe_yaml.h"
#include "compress/report/page.h"
#include "server/assembly/expected_tensors.h"
#include "server/assembly/message_json.h"
#include "server/assembly/output_sweep.h"
#include "server/assembly/shards.h"
#include "server/assembly/study_files.h"
#include "server/fleet/staging.h"

namespace calipress::assembly {
namespace {

constexpr char kConfig[] = "config.json";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kRecipe[] = "recipe.yaml";
constexpr char kReport[] = "report.json";
constexpr char kPage[] = "report.html";
constexpr int64_t kLargestConfig = 4 << 20;
constexpr int64_t kLargestReport = 256 << 20;

// What the output will be, known before anything of it is written.
struct Checkpoint {
  Shards shards;
  std::string config;                     // text of config.json
  std::string repeated_config;            // name of a file that repeats its quantization_config; empty: none
  std::optional<std::string> index;       // text of the index, with several shards
  std::vector<std::string> copies;        // taken over from the source
  std::optional<std::string> ids_staged;  // calibration ids, where they still are in staging
  bool imatrix = false;                   // imatrix.gguf is a part of it
  // Of a study that the checkpoint comes from: name and text.
  std::vector<std::pair<std::string, std::string>> study;

  std::vector<std::string> Files() const {
    std::vector<std::string> files = copies;
    for (const auto& shard : shards) files.push_back(shard.file());
    if (!repeated_config.empty()) files.push_back(repeated_config);
    for (const char* file : {kIndex, kRecipe, kReport, kPage, fleet::kCalibrationIdsFile, kConfig})
      files.emplace_back(file);
    if (imatrix) files.emplace_back(fleet::kImatrixFile);
    for (const auto& [name, text] : study) files.push_back(name);
    return files;
  }
};

absl::Status OutputExists(const v1::CompressionJob& job, const std::string& name) {
  return PreconditionError(reason::kOutputExists,
                           absl::StrCat(storage::RedactUri(storage::JoinUri(job.output(), name)),
                                        " was put there by someone else while the job ran; the checkpoint is not "
                                        "published. Empty the folder or choose another one, and submit again"));
}

// The calibration ids lie with the attempt that made them; attempts make the same ones.
absl::StatusOr<std::optional<std::string>> StagedIds(storage::ObjectStore& store, const v1::CompressionJob& job) {
  for (int attempt = 1; attempt <= job.attempt(); ++attempt) {
    const std::string uri = fleet::CalibrationIdsUri(job, attempt);
    CALIPRESS_ASSIGN_OR_RETURN(const bool exists, store.Exists(uri));
    if (exists) return uri;
  }
  return std::nullopt;
}

absl::StatusOr<Checkpoint> Design(storage::ObjectStore& store, const v1::CompressionJob& job, Shards shards,
                                  std::map<std::string, std::vector<int64_t>>* expected) {
  Checkpoint checkpoint;
  checkpoint.shards = std::move(shards);
  CALIPRESS_ASSIGN_OR_RETURN(const std::string source_config,
                             store.ReadAll(storage::JoinUri(job.model(), kConfig), kLargestConfig));
  CALIPRESS_ASSIGN_OR_RETURN(const arch::ArchSpec spec, arch::ParseConfig(source_config));
  *expected = ExpectedTensors(job.recipe(), spec);
  CALIPRESS_RETURN_IF_ERROR(CheckShards(checkpoint.shards, *expected));
  const std::string root = fleet::StagingRoot(job);
  for (const auto& shard : checkpoint.shards) {
    if (checkpoint::NameBelow(root, shard.uri()).empty()) {
      return DefectError(absl::StrCat("shard ", shard.file(), " was reported outside of the job's staging folder"));
    }
  }
  const LinearOutcome linears = LinearsOf(job.recipe(), spec);
  if (linears.spqr) {
    CALIPRESS_ASSIGN_OR_RETURN(checkpoint.config, checkpoint::SpqrConfig(source_config, *linears.spqr, linears.dense));
  } else if (linears.quantized.empty()) {
    checkpoint.config = source_config;
  } else {
    const auto& format = *checkpoint::FindLinearFormat(job.recipe().output().format());
    CALIPRESS_ASSIGN_OR_RETURN(checkpoint.config, format.Config(source_config, linears.quantized, linears.dense));
    checkpoint.repeated_config = format.repeated_config();
  }
  if (checkpoint.shards.size() > 1) checkpoint.index = ShardIndex(checkpoint.shards);
  CALIPRESS_ASSIGN_OR_RETURN(checkpoint.copies, checkpoint::CopiedFiles(store, job.model()));
  CALIPRESS_ASSIGN_OR_RETURN(checkpoint.ids_staged, StagedIds(store, job));
  checkpoint.imatrix = job.recipe().output().imatrix();
  return checkpoint;
}

// Refuses files in the output that would be overwritten, or would be taken for a part of the checkpoint. `own` are the
// files that may be there.
absl::Status CheckForeign(storage::ObjectStore& store, const v1::CompressionJob& job, const Checkpoint& checkpoint,
                          const std::vector<std::string>& own) {
  const std::vector<std::string> files = checkpoint.Files();
  CALIPRESS_ASSIGN_OR_RETURN(const auto objects, store.List(job.output()));
  for (const storage::ObjectInfo& object : objects) {
    const std::string name = checkpoint::NameBelow(job.output(), object.uri);
    if (name.find('/') != std::string::npos) continue;
    if (std::find(own.begin(), own.end(), name) != own.end()) continue;
    if (checkpoint::IsWeights(name) || std::find(files.begin(), files.end(), name) != files.end())
      return OutputExists(job, name);
  }
  return absl::OkStatus();
}

// An earlier try may have put other files there: they stay the job's own.
std::vector<std::string> Union(std::vector<std::string> files, const std::optional<std::vector<std::string>>& earlier) {
  for (const std::string& name : earlier.value_or(std::vector<std::string>())) {
    if (std::find(files.begin(), files.end(), name) == files.end()) files.push_back(name);
  }
  return files;
}

// Moves a staged file over what an earlier try may have left at its target.
absl::Status MoveOver(storage::ObjectStore& store, const std::string& from, const std::string& to) {
  CALIPRESS_ASSIGN_OR_RETURN(const bool left, store.Exists(to));
  if (left) CALIPRESS_RETURN_IF_ERROR(store.Delete(to));
  return store.Move(from, to);
}

absl::Status MoveShards(storage::ObjectStore& store, const v1::CompressionJob& job, const Shards& shards,
                        const std::vector<ShardPlace>& places, OutputClaim& claim) {
  for (size_t i = 0; i < shards.size(); ++i) {
    if (places[i] == ShardPlace::kPublished) continue;
    CALIPRESS_RETURN_IF_ERROR(claim.Keep());
    CALIPRESS_RETURN_IF_ERROR(MoveOver(store, shards[i].uri(), storage::JoinUri(job.output(), shards[i].file())));
  }
  return absl::OkStatus();
}

// Where it is not staged any more, a publication that was cut short has moved it.
absl::Status MoveImatrix(storage::ObjectStore& store, const v1::CompressionJob& job) {
  const std::string staged = storage::JoinUri(fleet::AttemptStaging(job, job.attempt()), fleet::kImatrixFile);
  const std::string target = storage::JoinUri(job.output(), fleet::kImatrixFile);
  CALIPRESS_ASSIGN_OR_RETURN(const bool waits, store.Exists(staged));
  if (waits) return MoveOver(store, staged, target);
  CALIPRESS_ASSIGN_OR_RETURN(const bool moved, store.Exists(target));
  return moved ? absl::OkStatus()
               : EnvironmentError(reason::kStorageUnavailable,
                                  absl::StrCat(storage::RedactUri(staged),
                                               ", which the job wrote, is gone, and is not in "
                                               "the output either; submit the job again"));
}

absl::Status WriteBesides(storage::ObjectStore& store, const v1::CompressionJob& job, const Checkpoint& checkpoint,
                          const v1::Report& report) {
  const auto target = [&](const std::string& name) { return storage::JoinUri(job.output(), name); };
  if (checkpoint.index) CALIPRESS_RETURN_IF_ERROR(store.WriteAll(target(kIndex), *checkpoint.index));
  if (!checkpoint.repeated_config.empty()) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::string repeated, checkpoint::RepeatedConfig(checkpoint.config));
    CALIPRESS_RETURN_IF_ERROR(store.WriteAll(target(checkpoint.repeated_config), repeated));
  }
  for (const std::string& name : checkpoint.copies) {
    CALIPRESS_RETURN_IF_ERROR(checkpoint::CopyFile(store, job.model(), job.output(), name));
  }
  CALIPRESS_RETURN_IF_ERROR(store.WriteAll(target(kRecipe), recipe::RecipeYaml(job.recipe())));
  if (checkpoint.ids_staged) {
    CALIPRESS_RETURN_IF_ERROR(MoveOver(store, *checkpoint.ids_staged, target(fleet::kCalibrationIdsFile)));
  }
  if (checkpoint.imatrix) CALIPRESS_RETURN_IF_ERROR(MoveImatrix(store, job));
  for (const auto& [name, text] : checkpoint.study) CALIPRESS_RETURN_IF_ERROR(store.WriteAll(target(name), text));
  CALIPRESS_RETURN_IF_ERROR(store.WriteAll(target(kPage), report::ReportPage(job, report)));
  CALIPRESS_ASSIGN_OR_RETURN(const std::string json, MessageJson(report));
  return store.WriteAll(target(kReport), json);
}

// True where config.json is there already: a publication of this job that finished, whose end was not recorded. The
// report is then the one that was published. `begun`: the job has put files into the output.
absl::StatusOr<bool> AlreadyPublished(storage::ObjectStore& store, const v1::CompressionJob& job,
                                      const Checkpoint& checkpoint, bool begun, v1::Report* report) {
  auto present = store.ReadAll(storage::JoinUri(job.output(), kConfig), kLargestConfig);
  if (absl::IsNotFound(present.status())) return false;
  if (!present.ok()) return present.status();
  if (!begun || *present != checkpoint.config) return OutputExists(job, kConfig);
  CALIPRESS_ASSIGN_OR_RETURN(const std::string json,
                             store.ReadAll(storage::JoinUri(job.output(), kReport), kLargestReport));
  v1::Report published;
  if (!google::protobuf::util::JsonStringToMessage(json, &published).ok()) return OutputExists(job, kReport);
  *report = published;
  return true;
}

absl::Status PublishCheckpoint(storage::ObjectStore& store, const v1::CompressionJob& of_study, Shards shards,
                               OutputClaim& claim, v1::Report* report) {
  CALIPRESS_ASSIGN_OR_RETURN(const v1::CompressionJob job, JobOfCheckpoint(of_study, *report));
  std::map<std::string, std::vector<int64_t>> expected;
  CALIPRESS_ASSIGN_OR_RETURN(Checkpoint checkpoint, Design(store, job, std::move(shards), &expected));
  CALIPRESS_ASSIGN_OR_RETURN(checkpoint.study, StudyFiles(of_study, *report));
  report->set_output_bytes(TensorBytes(checkpoint.shards));
  const std::string root = fleet::StagingRoot(job);
  CALIPRESS_ASSIGN_OR_RETURN(const auto marker, checkpoint::ReadMarker(store, root));
  CALIPRESS_ASSIGN_OR_RETURN(const bool claimed, claim.IsThere());
  // Two jobs of one recipe write the same config.json: the claim tells them apart.
  CALIPRESS_ASSIGN_OR_RETURN(const bool published,
                             AlreadyPublished(store, job, checkpoint, marker.has_value() && claimed, report));
  if (published) return absl::OkStatus();

  CALIPRESS_RETURN_IF_ERROR(claim.Take(/*begun=*/marker.has_value()));
  CALIPRESS_RETURN_IF_ERROR(CheckForeign(store, job, checkpoint, marker.value_or(std::vector<std::string>())));
  CALIPRESS_ASSIGN_OR_RETURN(const auto places, LocateShards(store, job.output(), checkpoint.shards, expected));
  const std::vector<std::string> files = checkpoint.Files();
  CALIPRESS_RETURN_IF_ERROR(claim.RemoveStale());
  if (!marker || *marker != files)
    CALIPRESS_RETURN_IF_ERROR(checkpoint::WriteMarker(store, root, Union(files, marker)));
  CALIPRESS_RETURN_IF_ERROR(MoveShards(store, job, checkpoint.shards, places, claim));
  CALIPRESS_RETURN_IF_ERROR(WriteBesides(store, job, checkpoint, *report));

  // Everything else is in place, so the last look comes as late as it can.
  std::vector<std::string> own = files;
  own.erase(std::remove(own.begin(), own.end(), kConfig), own.end());
  if (!checkpoint.index) own.erase(std::remove(own.begin(), own.end(), kIndex), own.end());
  CALIPRESS_RETURN_IF_ERROR(CheckForeign(store, job, checkpoint, own));
  CALIPRESS_RETURN_IF_ERROR(claim.Confirm());
  return store.WriteAll(storage::JoinUri(job.output(), kConfig), checkpoint.config);
}

// A study that keeps no run: its tables and the report, which comes last. Written again as often as it is called.
absl::Status PublishTables(storage::ObjectStore& store, const v1::CompressionJob& job, const v1::Report& report) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto files, StudyFiles(job, report));
  for (const auto& [name, text] : files) {
    CALIPRESS_RETURN_IF_ERROR(store.WriteAll(storage::JoinUri(job.output(), name), text));
  }
  CALIPRESS_RETURN_IF_ERROR(store.WriteAll(storage::JoinUri(job.output(), kPage), report::ReportPage(job, report)));
  CALIPRESS_ASSIGN_OR_RETURN(const std::string json, MessageJson(report));
  return store.WriteAll(storage::JoinUri(job.output(), kReport), json);
}

}  // namespace

absl::Status CheckpointPublisher::Publish(const v1::CompressionJob& job,
                                          const std::vector<worker::v1::StageOutcome>& outcomes,
                                          const std::vector<worker::v1::FinishedBlock>& /*blocks*/,
                                          v1::Report* report) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto source, checkpoint::ModelReader::Open(store_, job.model()));
  report->set_source_bytes(source->total_bytes());
  if (job.output().empty()) return absl::OkStatus();
  if (job.recipe().has_study() && report->study().kept().empty()) return PublishTables(store_, job, *report);
  Shards shards;
  for (const auto& outcome : outcomes) shards.insert(shards.end(), outcome.shards().begin(), outcome.shards().end());
  std::sort(shards.begin(), shards.end(), [](const auto& a, const auto& b) { return a.file() < b.file(); });
  OutputClaim claim(store_, job, clock_, patience_);
  return PublishCheckpoint(store_, job, std::move(shards), claim, report);
}

absl::Status CheckpointPublisher::Sweep(const v1::CompressionJob& job) {
  return job.output().empty() ? absl::OkStatus() : SweepOutput(store_, job, clock_);
}

}  // namespace calipress::assembly
