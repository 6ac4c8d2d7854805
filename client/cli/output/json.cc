#include "client/cli/output/json.h"

#include <google/protobuf/util/json_util.h>

#include "nlohmann/json.hpp"

namespace calipress::cli {

std::string JsonLine(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  // Fails only on an Any of an unknown type, which JobJsonLine takes out; no other message here holds one.
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  return status.ok() ? text : "{}";
}

std::string JobJsonLine(v1::CompressionJob job) {
  job.mutable_progress();
  if (job.has_error()) {
    // Details are Any: those that are not linked in here cannot be printed, and the rest must be.
    google::protobuf::util::JsonPrintOptions options;
    std::string text;
    if (!google::protobuf::util::MessageToJsonString(job.error(), &text, options).ok()) {
      job.mutable_error()->clear_details();
    }
  }
  return JsonLine(job);
}

std::string OutcomeJsonLine(const v1::CompressionJob& job) {
  if (job.recipe().steps_size() > 0 || job.state() != v1::CompressionJob::SUCCEEDED) return JobJsonLine(job);
  using Json = nlohmann::ordered_json;
  Json outcome = Json::parse(JobJsonLine(job));
  Json texts = Json::array();
  for (const auto& evaluation : job.report().evaluations()) texts.push_back(Json::parse(JsonLine(evaluation)));
  if (texts.size() == 1) {
    // The job's own keys stay: "name" is the job's.
    for (const auto& [key, value] : texts[0].items()) {
      if (!outcome.contains(key)) outcome[key] = value;
    }
  }
  outcome["evaluations"] = std::move(texts);
  Json tasks = Json::array();
  for (const auto& task : job.report().tasks()) tasks.push_back(Json::parse(JsonLine(task)));
  outcome["tasks"] = std::move(tasks);
  return outcome.dump();
}

}  // namespace calipress::cli
