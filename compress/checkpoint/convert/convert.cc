#include "compress/checkpoint/convert/convert.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/convert/conversion_plan.h"
#include "compress/checkpoint/convert/linear_mover.h"
#include "compress/checkpoint/copy_tensor.h"
#include "compress/checkpoint/publication/marker.h"
#include "compress/checkpoint/publication/source_files.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {
namespace {

constexpr char kConfig[] = "config.json";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kWorkFolder[] = "_calipress";

// The output's folder while a conversion goes on, and what takes it back.
class Publication {
 public:
  Publication(storage::ObjectStore& store, const std::string& output)
      : store_(store),
        output_(output),
        work_(storage::JoinUri(output, kWorkFolder)),
        staging_(storage::JoinUri(work_, "convert")) {}

  std::string Target(const std::string& name) const { return storage::JoinUri(output_, name); }
  std::string Staged(const std::string& name) const { return storage::JoinUri(staging_, name); }

  // Sweeps what a killed conversion left, and refuses what somebody else has put there.
  absl::Status Begin() {
    CALIPRESS_ASSIGN_OR_RETURN(const bool whole, store_.Exists(Target(kConfig)));
    if (whole) return OutputExists(kConfig);
    CALIPRESS_RETURN_IF_ERROR(TakeBack());
    CALIPRESS_ASSIGN_OR_RETURN(const auto objects, store_.List(output_));
    for (const storage::ObjectInfo& object : objects) {
      const std::string name = NameBelow(output_, object.uri);
      if (name.find('/') == std::string::npos && IsWeights(name)) return OutputExists(name);
    }
    return absl::OkStatus();
  }

  // From here on these files in the output are the conversion's own.
  absl::Status Claim(const std::vector<std::string>& files) {
    for (const std::string& name : files) {
      CALIPRESS_ASSIGN_OR_RETURN(const bool there, store_.Exists(Target(name)));
      if (there) return OutputExists(name);
    }
    return WriteMarker(store_, staging_, files);
  }

  absl::Status Move(const std::string& name) { return store_.Move(Staged(name), Target(name)); }

  // Removes the staging folder, and files in the output that the marker names.
  absl::Status TakeBack() {
    CALIPRESS_ASSIGN_OR_RETURN(const auto marker, ReadMarker(store_, staging_));
    for (const std::string& name : marker.value_or(std::vector<std::string>())) {
      if (name.find('/') != std::string::npos) continue;
      const absl::Status status = store_.Delete(Target(name));
      if (!status.ok() && !absl::IsNotFound(status)) return status;
    }
    return Sweep();
  }

  absl::Status Sweep() {
    CALIPRESS_RETURN_IF_ERROR(store_.DeleteFolder(staging_));
    CALIPRESS_ASSIGN_OR_RETURN(const auto others, store_.List(work_));
    return others.empty() ? store_.DeleteFolder(work_) : absl::OkStatus();
  }

 private:
  absl::Status OutputExists(const std::string& name) const {
    return PreconditionError(
        reason::kOutputExists,
        absl::StrCat(storage::RedactUri(Target(name)), " is there already; empty the folder or choose another one"));
  }

  storage::ObjectStore& store_;
  const std::string output_, work_, staging_;
};

// Writes a shard into staging. Tensors of the source that lost digits go to `rounded`.
absl::Status WriteShard(storage::ObjectStore& store, const SourceCheckpoint& source, const ConversionPlan& plan,
                        const PlannedShard& shard, const std::string& uri, const CancellationToken& cancellation,
                        std::vector<std::string>* rounded) {
  std::vector<TensorPlan> tensors;
  for (const PlannedTensor& planned : shard.tensors) tensors.push_back(planned.tensor);
  CALIPRESS_ASSIGN_OR_RETURN(auto writer, SafetensorsWriter::Create(store, uri, tensors));
  LinearMover mover(source, plan);
  for (const TensorPlan& tensor : tensors) {
    CALIPRESS_RETURN_IF_ERROR(cancellation.status());
    if (plan.module_of.contains(tensor.name)) {
      CALIPRESS_RETURN_IF_ERROR(mover.Append(tensor, *writer));
      continue;
    }
    const TensorInfo* info = source.reader->Find(tensor.name);
    if (info == nullptr) return DefectError("tensor " + tensor.name + " was planned and is not in the source");
    CALIPRESS_ASSIGN_OR_RETURN(const ConversionLoss loss, CopyTensor(*source.reader, *info, tensor.dtype, *writer));
    if (loss.inexact) rounded->push_back(tensor.name);
  }
  return writer->Close();
}

std::string IndexText(const ConversionPlan& plan, int64_t bytes) {
  nlohmann::json weight_map = nlohmann::json::object();
  for (const PlannedShard& shard : plan.shards) {
    for (const PlannedTensor& planned : shard.tensors) weight_map[planned.tensor.name] = shard.file;
  }
  const nlohmann::json index = {{"metadata", {{"total_size", bytes}}}, {"weight_map", weight_map}};
  return index.dump(2) + "\n";
}

absl::Status Write(storage::ObjectStore& store, const std::string& source_uri, const SourceCheckpoint& source,
                   const ConversionPlan& plan, Publication& publication, const std::string& output_uri,
                   const CancellationToken& cancellation, Conversion* conversion) {
  std::vector<std::string> rounded;
  for (const PlannedShard& shard : plan.shards) {
    CALIPRESS_RETURN_IF_ERROR(
        WriteShard(store, source, plan, shard, publication.Staged(shard.file), cancellation, &rounded));
    conversion->files.push_back(shard.file);
    for (const PlannedTensor& planned : shard.tensors) conversion->bytes += TensorBytes(planned.tensor);
  }
  if (plan.drops_activations) {
    conversion->warnings.emplace_back("dense holds weights alone: programs will not round the inputs of its linears");
  }
  if (!rounded.empty()) {
    conversion->warnings.push_back(absl::StrCat(rounded.size(), " tensors that are no codes were rounded to F16, as ",
                                                conversion->to, " holds it: ", rounded.front(),
                                                rounded.size() > 1 ? " and others" : ""));
  }
  CALIPRESS_ASSIGN_OR_RETURN(std::vector<std::string> copies, CopiedFiles(store, source_uri));
  const std::string repeated(plan.target == nullptr ? "" : plan.target->repeated_config());
  std::vector<std::string> own = conversion->files;
  own.insert(own.end(), copies.begin(), copies.end());
  if (plan.shards.size() > 1) own.emplace_back(kIndex);
  if (!repeated.empty()) own.push_back(repeated);
  CALIPRESS_RETURN_IF_ERROR(publication.Claim(own));
  for (const std::string& file : conversion->files) CALIPRESS_RETURN_IF_ERROR(publication.Move(file));
  if (plan.shards.size() > 1) {
    CALIPRESS_RETURN_IF_ERROR(store.WriteAll(publication.Target(kIndex), IndexText(plan, conversion->bytes)));
  }
  if (!repeated.empty()) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::string text, RepeatedConfig(plan.config));
    CALIPRESS_RETURN_IF_ERROR(store.WriteAll(publication.Target(repeated), text));
  }
  for (const std::string& name : copies) CALIPRESS_RETURN_IF_ERROR(CopyFile(store, source_uri, output_uri, name));
  // A loader starts here: it finds a whole checkpoint or none.
  return store.WriteAll(publication.Target(kConfig), plan.config);
}

}  // namespace

absl::StatusOr<Conversion> Convert(storage::ObjectStore& store, const std::string& source_uri,
                                   const std::string& output_uri, const std::string& format,
                                   const CancellationToken& cancellation) {
  CALIPRESS_ASSIGN_OR_RETURN(const SourceCheckpoint source, OpenCheckpoint(store, source_uri));
  CALIPRESS_ASSIGN_OR_RETURN(const ConversionPlan plan, PlanConversion(source, format));
  Publication publication(store, output_uri);
  CALIPRESS_RETURN_IF_ERROR(publication.Begin());
  Conversion conversion;
  conversion.from = FormatName(source.quantization);
  conversion.to = format;
  const absl::Status written =
      Write(store, source_uri, source, plan, publication, output_uri, cancellation, &conversion);
  const absl::Status swept = written.ok() ? publication.Sweep() : publication.TakeBack();
  if (!swept.ok()) {
    LogWarning("a conversion's staging folder could not be removed",
               {{"output", storage::RedactUri(output_uri)}, {"error", std::string(swept.message())}});
  }
  CALIPRESS_RETURN_IF_ERROR(written);
  return conversion;
}

}  // namespace calipress::checkpoint
