#include "server/assembly/publication.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/checkpoint/publication/marker.h"
#include "compress/checkpoint/publication/source_files.h"
#include "compress/recipe/recipe_yaml.h"
#include "compress/recipe/study.h"
#include "compress/report/page.h"
#include "server/assembly/message_json.h"
#include "server/fleet/staging.h"

namespace calipress::assembly {
namespace {

using Names = std::set<std::string>;
constexpr char kStagingFolder[] = "_calipress/";

absl::Status OutputExists(const v1::CompressionJob& job, const std::string& name) {
  return PreconditionError(reason::kOutputExists,
                           absl::StrCat(storage::RedactUri(storage::JoinUri(job.output(), name)),
                                        " was put there by someone else while the job ran; the result is not "
                                        "published. Empty the folder or choose another one, and submit again"));
}

// Refuses files in the output that would be overwritten, or would be taken for a part of a checkpoint. `own` are the
// files that may be there.
absl::Status CheckForeign(storage::ObjectStore& store, const Publication& publication, const Names& own) {
  const Names files = publication.Files();
  Names folders;
  for (const Checkpoint& checkpoint : publication.checkpoints) folders.insert(checkpoint.folder);
  CALIPRESS_ASSIGN_OR_RETURN(const auto objects, store.List(publication.job.output()));
  for (const storage::ObjectInfo& object : objects) {
    const std::string name = checkpoint::NameBelow(publication.job.output(), object.uri);
    if (absl::StartsWith(name, kStagingFolder) || own.contains(name)) continue;
    const size_t slash = name.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : name.substr(0, slash);
    const bool weights = folders.contains(folder) && checkpoint::IsWeights(name.substr(slash + 1));
    if (weights || files.contains(name)) return OutputExists(publication.job, name);
  }
  return absl::OkStatus();
}

// Moves a staged file over what an earlier try may have left at its target.
absl::Status MoveOver(storage::ObjectStore& store, const std::string& from, const std::string& to) {
  CALIPRESS_ASSIGN_OR_RETURN(const bool left, store.Exists(to));
  if (left) CALIPRESS_RETURN_IF_ERROR(store.Delete(to));
  return store.Move(from, to);
}

// Where it is not staged any more, a publication that was cut short has moved it.
absl::Status MoveOnce(storage::ObjectStore& store, const std::string& staged, const std::string& target) {
  CALIPRESS_ASSIGN_OR_RETURN(const bool waits, store.Exists(staged));
  if (waits) return MoveOver(store, staged, target);
  CALIPRESS_ASSIGN_OR_RETURN(const bool moved, store.Exists(target));
  return moved
             ? absl::OkStatus()
             : EnvironmentError(reason::kStorageUnavailable,
                                absl::StrCat(storage::RedactUri(staged), ", which the job wrote, is gone, and is not ",
                                             "in the output either; submit the job again"));
}

absl::Status WriteReport(storage::ObjectStore& store, const v1::CompressionJob& job, const v1::Report& report) {
  CALIPRESS_RETURN_IF_ERROR(store.WriteAll(storage::JoinUri(job.output(), kPageFile), report::ReportPage(job, report)));
  CALIPRESS_ASSIGN_OR_RETURN(const std::string json, MessageJson(report));
  return store.WriteAll(storage::JoinUri(job.output(), kReportFile), json);
}

absl::Status WriteBesides(storage::ObjectStore& store, const Checkpoint& checkpoint) {
  const v1::CompressionJob& job = checkpoint.job;
  const auto target = [&](const std::string& name) { return storage::JoinUri(job.output(), name); };
  if (checkpoint.index) CALIPRESS_RETURN_IF_ERROR(store.WriteAll(target(kIndexFile), *checkpoint.index));
  if (!checkpoint.repeated_config.empty()) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::string repeated, checkpoint::RepeatedConfig(checkpoint.config));
    CALIPRESS_RETURN_IF_ERROR(store.WriteAll(target(checkpoint.repeated_config), repeated));
  }
  for (const std::string& name : checkpoint.copies) {
    CALIPRESS_RETURN_IF_ERROR(checkpoint::CopyFile(store, job.model(), job.output(), name));
  }
  CALIPRESS_RETURN_IF_ERROR(store.WriteAll(target(kRecipeFile), recipe::RecipeYaml(job.recipe())));
  if (checkpoint.replay) CALIPRESS_RETURN_IF_ERROR(store.WriteAll(target(kReplayFile), *checkpoint.replay));
  if (checkpoint.ids_staged) {
    CALIPRESS_RETURN_IF_ERROR(MoveOver(store, *checkpoint.ids_staged, target(fleet::kCalibrationIdsFile)));
  }
  if (checkpoint.imatrix_staged) {
    CALIPRESS_RETURN_IF_ERROR(MoveOnce(store, *checkpoint.imatrix_staged, target(fleet::kImatrixFile)));
  }
  return WriteReport(store, job, checkpoint.report);
}

absl::Status PutCheckpoint(storage::ObjectStore& store, const Publication& publication, const Checkpoint& checkpoint,
                           const std::vector<ShardPlace>& places, OutputClaim& claim) {
  const std::string& output = checkpoint.job.output();
  for (size_t i = 0; i < checkpoint.shards.size(); ++i) {
    if (places[i] == ShardPlace::kPublished) continue;
    const auto& shard = checkpoint.shards[i];
    CALIPRESS_RETURN_IF_ERROR(claim.Keep());
    CALIPRESS_RETURN_IF_ERROR(MoveOver(store, shard.uri(), storage::JoinUri(output, shard.file())));
  }
  CALIPRESS_RETURN_IF_ERROR(WriteBesides(store, checkpoint));
  // Everything else is in place, so the last look comes as late as it can.
  Names own = publication.Files();
  own.erase(checkpoint.Below(kConfigFile));
  if (!checkpoint.index) own.erase(checkpoint.Below(kIndexFile));
  CALIPRESS_RETURN_IF_ERROR(CheckForeign(store, publication, own));
  CALIPRESS_RETURN_IF_ERROR(claim.Confirm());
  return store.WriteAll(storage::JoinUri(output, kConfigFile), checkpoint.config);
}

// Whether the checkpoint's config.json is there: then all of it is.
absl::StatusOr<bool> IsWhole(storage::ObjectStore& store, const Publication& publication, const Checkpoint& checkpoint,
                             bool begun) {
  auto present = store.ReadAll(storage::JoinUri(checkpoint.job.output(), kConfigFile), kLargestConfig);
  if (absl::IsNotFound(present.status())) return false;
  if (!present.ok()) return present.status();
  if (begun && *present == checkpoint.config) return true;
  return OutputExists(publication.job, checkpoint.Below(kConfigFile));
}

// True where a publication of this job has finished, and its end was not recorded. The report is then the one that was
// published.
absl::StatusOr<bool> AlreadyPut(storage::ObjectStore& store, const Publication& publication, bool begun,
                                v1::Report* report) {
  if (publication.IsCheckpoint()) {
    CALIPRESS_ASSIGN_OR_RETURN(const bool whole, IsWhole(store, publication, publication.checkpoints.front(), begun));
    if (!whole) return false;
  }
  auto json = store.ReadAll(storage::JoinUri(publication.job.output(), kReportFile), kLargestReport);
  if (absl::IsNotFound(json.status()) && !publication.IsCheckpoint()) return false;
  if (!json.ok()) return json.status();
  v1::Report published;
  if (!begun || !google::protobuf::util::JsonStringToMessage(*json, &published).ok()) {
    return OutputExists(publication.job, kReportFile);
  }
  *report = published;
  return true;
}

}  // namespace

absl::Status DeleteIfEmpty(storage::ObjectStore& store, const std::string& folder) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto objects, store.List(folder));
  return objects.empty() ? store.DeleteFolder(folder) : absl::OkStatus();
}

std::set<std::string> Publication::Files() const {
  Names files(sets.begin(), sets.end());
  for (const auto& [name, text] : tables) files.insert(name);
  for (const Checkpoint& checkpoint : checkpoints) {
    for (const std::string& name : checkpoint.Files()) files.insert(checkpoint.Below(name));
  }
  files.insert({kReportFile, kPageFile});
  return files;
}

absl::Status Put(storage::ObjectStore& store, const Publication& publication, OutputClaim& claim, v1::Report* report) {
  const v1::CompressionJob& job = publication.job;
  const std::string root = fleet::StagingRoot(job);
  CALIPRESS_ASSIGN_OR_RETURN(const auto marker, checkpoint::ReadMarker(store, root));
  CALIPRESS_ASSIGN_OR_RETURN(const bool claimed, claim.IsThere());
  // Two jobs of one recipe write the same config.json: the claim tells them apart.
  const bool begun = marker.has_value();
  CALIPRESS_ASSIGN_OR_RETURN(const bool published, AlreadyPut(store, publication, begun && claimed, report));
  if (published) return absl::OkStatus();
  CALIPRESS_RETURN_IF_ERROR(claim.Take(begun));
  // An earlier try may have put other files there: they stay the job's own.
  const Names earlier = marker ? Names(marker->begin(), marker->end()) : Names();
  CALIPRESS_RETURN_IF_ERROR(CheckForeign(store, publication, earlier));
  std::vector<std::vector<ShardPlace>> places;
  for (const Checkpoint& checkpoint : publication.checkpoints) {
    CALIPRESS_ASSIGN_OR_RETURN(places.emplace_back(),
                               LocateShards(store, checkpoint.job.output(), checkpoint.shards, checkpoint.expected));
  }
  Names files = publication.Files();
  files.insert(earlier.begin(), earlier.end());
  CALIPRESS_RETURN_IF_ERROR(claim.RemoveStale());
  if (files != earlier) {
    CALIPRESS_RETURN_IF_ERROR(checkpoint::WriteMarker(store, root, {files.begin(), files.end()}));
  }
  for (const std::string& set : publication.sets) {
    CALIPRESS_RETURN_IF_ERROR(MoveOnce(store, storage::JoinUri(root, set), storage::JoinUri(job.output(), set)));
  }
  for (const auto& [name, text] : publication.tables) {
    CALIPRESS_RETURN_IF_ERROR(store.WriteAll(storage::JoinUri(job.output(), name), text));
  }
  for (size_t i = 0; i < publication.checkpoints.size(); ++i) {
    const Checkpoint& checkpoint = publication.checkpoints[i];
    CALIPRESS_ASSIGN_OR_RETURN(const bool whole, IsWhole(store, publication, checkpoint, /*begun=*/true));
    if (!whole) CALIPRESS_RETURN_IF_ERROR(PutCheckpoint(store, publication, checkpoint, places[i], claim));
  }
  if (publication.IsCheckpoint()) {
    *report = publication.checkpoints.front().report;
    return absl::OkStatus();
  }
  Names own = publication.Files();
  own.erase(kReportFile);
  CALIPRESS_RETURN_IF_ERROR(CheckForeign(store, publication, own));
  CALIPRESS_RETURN_IF_ERROR(claim.Confirm());
  return WriteReport(store, job, *report);
}

absl::Status TakeBack(storage::ObjectStore& store, const v1::CompressionJob& job, const OutputClaim& claim) {
  CALIPRESS_ASSIGN_OR_RETURN(auto marker, checkpoint::ReadMarker(store, fleet::StagingRoot(job)));
  CALIPRESS_ASSIGN_OR_RETURN(const bool claimed, claim.IsThere());
  if (!marker || !claimed) return absl::OkStatus();
  const bool has_config = std::find(marker->begin(), marker->end(), kConfigFile) != marker->end();
  const std::string last = storage::JoinUri(job.output(), has_config ? kConfigFile : kReportFile);
  CALIPRESS_ASSIGN_OR_RETURN(const bool whole, store.Exists(last));
  if (whole) {
    LogWarning("the result in the output of a job that did not succeed is left as it is",
               {{"job", job.name()}, {"output", storage::RedactUri(job.output())}});
    return absl::OkStatus();
  }
  // Loaders begin with config.json: a checkpoint that goes is first none.
  std::stable_partition(marker->begin(), marker->end(),
                        [](const std::string& name) { return absl::EndsWith(name, kConfigFile); });
  for (const std::string& name : *marker) {
    // A marker is a file: its names must not lead elsewhere.
    if (absl::StrContains(absl::StrCat("/", name, "/"), "/../")) continue;
    const absl::Status status = store.Delete(storage::JoinUri(job.output(), name));
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  if (!job.recipe().has_study()) return absl::OkStatus();
  CALIPRESS_RETURN_IF_ERROR(DeleteIfEmpty(store, storage::JoinUri(job.output(), recipe::kRunsFolder)));
  return DeleteIfEmpty(store, storage::JoinUri(job.output(), recipe::kCalibrationFolder));
}

}  // namespace calipress::assembly
