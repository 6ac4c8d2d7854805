#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/embedded/local_job.h"
#include "client/cli/server_option.h"
#include "client/cli/uri_argument.h"
#include "client/cli/verbs/verbs.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  calipress eval ./model --text test.txt --seqlen 512\n"
    "  calipress eval ./out --text test.jsonl --reference ./model --json\n\n"
    "The text is tokenized in one go and cut into windows of --seqlen tokens; perplexity is over all of their tokens\n"
    "but the first. With --reference also KL(reference || model), JS and top-1 agreement on the same windows.";

struct Arguments {
  std::string model;
  std::vector<std::string> texts;
  std::string field;
  std::string reference;
  int sequence_length = 0;
  int max_windows = 0;
  LocalClusterOptions cluster;
  bool json = false;
};

v1::CreateCompressionJobRequest Request(const Arguments& arguments) {
  v1::CreateCompressionJobRequest request;
  v1::CompressionJob* job = request.mutable_compression_job();
  job->set_model(UriArgument(arguments.model));
  job->mutable_placement()->set_workers(1);
  job->mutable_placement()->set_device(arguments.cluster.device);
  v1::Evaluation* evaluation = job->mutable_recipe()->mutable_evaluation();
  for (const std::string& text : arguments.texts) {
    v1::Perplexity* perplexity = evaluation->add_perplexity();
    perplexity->set_name(std::filesystem::path(text).stem().string());
    perplexity->set_uri(UriArgument(text));
    perplexity->set_field(arguments.field);
    if (arguments.sequence_length > 0) perplexity->set_sequence_length(arguments.sequence_length);
    perplexity->set_max_windows(arguments.max_windows);
  }
  if (!arguments.reference.empty()) evaluation->set_reference(UriArgument(arguments.reference));
  return request;
}

}  // namespace

void AddEval(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("eval", "measure a model: perplexity, and how far it is from another");
  command->add_option("MODEL", arguments->model, "Hugging Face model folder, compressed or not")->required();
  command->add_option("--text", arguments->texts, ".txt, .jsonl (.gz, .zst, .xz) or .parquet; may be repeated")
      ->required()
      ->type_name("URI")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--field", arguments->field, "the field of .jsonl rows or the column of .parquet; default: text")
      ->type_name("NAME");
  command->add_option("--reference", arguments->reference, "compare with this model")->type_name("MODEL");
  command->add_option("--seqlen", arguments->sequence_length, "tokens per window; default: the model's, at most 2048")
      ->type_name("N")
      ->check(CLI::Range(2, 1 << 24));
  command->add_option("--max-windows", arguments->max_windows, "at most so many windows of each text")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 30));
  AddLocalOptions(command, &arguments->cluster);
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] {
    *action = [=](const Console& console) {
      const Interrupt interrupt;
      return RunLocalJob(Request(*arguments), arguments->cluster, arguments->json, interrupt, console).exit_code;
    };
  });
}

}  // namespace calipress::cli
