#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/embedded/local_job.h"
#include "client/cli/exit_code.h"
#include "client/cli/page_file.h"
#include "client/cli/server_option.h"
#include "client/cli/uri_argument.h"
#include "client/cli/verbs/verbs.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  calipress eval ./model --text test.txt --seqlen 512\n"
    "  calipress eval ./out --text test.jsonl --reference ./model --json\n"
    "  calipress eval ./out --multiple-choice questions.jsonl --choice-fields query,choices,gold\n"
    "  calipress eval ./out --multiple-choice winogrande.jsonl --choice-fields contexts,continuation,gold\n"
    "  calipress eval ./out --last-word lambada.jsonl --reference ./model --html report.html\n\n"
    "A text is tokenized in one go and cut into windows of --seqlen tokens; perplexity is over all of their tokens "
    "but\n"
    "the first. With --reference also KL(reference || model), JS and top-1 agreement on the same windows.\n"
    "Questions have a context, a list of choices and the index of the right one, from 0; the model takes the choice "
    "whose\n"
    "tokens are likeliest after the context. Where the context is a list and the choices are one text, it takes the\n"
    "context after which that text is likeliest (WinoGrande). Of a last word it has to write every token itself; rows\n"
    "without --field may have {\"context\", \"continuation\"}.";

constexpr size_t kChoiceFields = 3;

struct Arguments {
  std::string model;
  std::vector<std::string> texts;
  std::vector<std::string> questions;
  std::vector<std::string> last_words;
  std::string field;
  std::vector<std::string> choice_fields;
  std::string reference;
  int sequence_length = 0;
  int max_windows = 0;
  int max_examples = 0;
  LocalClusterOptions cluster;
  std::string html;
  bool json = false;
};

// Labels of a report: the files' names without their endings, numbered where one is there already.
class Labels {
 public:
  std::string Of(const std::string& uri) {
    const std::string stem = std::filesystem::path(uri).stem().string();
    std::string label = stem;
    for (int number = 2; !taken_.insert(label).second; ++number) label = absl::StrCat(stem, "-", number);
    return label;
  }

 private:
  std::set<std::string> taken_;
};

v1::CreateCompressionJobRequest Request(const Arguments& arguments) {
  v1::CreateCompressionJobRequest request;
  v1::CompressionJob* job = request.mutable_compression_job();
  job->set_model(UriArgument(arguments.model));
  job->mutable_placement()->set_workers(1);
  job->mutable_placement()->set_device(arguments.cluster.device);
  v1::Evaluation* evaluation = job->mutable_recipe()->mutable_evaluation();
  Labels labels;
  for (const std::string& text : arguments.texts) {
    v1::Perplexity* perplexity = evaluation->add_perplexity();
    perplexity->set_name(labels.Of(text));
    perplexity->set_uri(UriArgument(text));
    perplexity->set_field(arguments.field);
    if (arguments.sequence_length > 0) perplexity->set_sequence_length(arguments.sequence_length);
    perplexity->set_max_windows(arguments.max_windows);
  }
  for (const std::string& uri : arguments.questions) {
    v1::MultipleChoice* task = evaluation->add_multiple_choice();
    task->set_name(labels.Of(uri));
    task->set_uri(UriArgument(uri));
    if (arguments.choice_fields.size() == kChoiceFields) {
      task->set_context_field(arguments.choice_fields[0]);
      task->set_choices_field(arguments.choice_fields[1]);
      task->set_answer_field(arguments.choice_fields[2]);
    }
    task->set_max_examples(arguments.max_examples);
  }
  for (const std::string& uri : arguments.last_words) {
    v1::LastWord* task = evaluation->add_last_word();
    task->set_name(labels.Of(uri));
    task->set_uri(UriArgument(uri));
    task->set_field(arguments.field);
    task->set_max_examples(arguments.max_examples);
  }
  if (!arguments.reference.empty()) evaluation->set_reference(UriArgument(arguments.reference));
  return request;
}

int Eval(const Arguments& arguments, const Console& console) {
  const Interrupt interrupt;
  // A page on standard output stands there alone.
  std::ostream nowhere(nullptr);
  const Console shown{arguments.html == "-" ? nowhere : console.out, console.err, console.err_is_terminal,
                      console.columns};
  const LocalJobResult result = RunLocalJob(Request(arguments), arguments.cluster, arguments.json, interrupt, shown);
  if (result.exit_code != kDone || arguments.html.empty()) return result.exit_code;
  // With --json a line that is no JSON does not belong there either.
  return SavePage(result.job, arguments.html, arguments.json ? Console{nowhere, console.err} : console);
}

void AddFiles(CLI::App* command, const char* name, std::vector<std::string>* files, const char* description) {
  command->add_option(name, *files, description)
      ->type_name("URI")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

}  // namespace

void AddEval(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      program->add_subcommand("eval", "measure a model: perplexity, tasks, and how far it is from another");
  command->add_option("MODEL", arguments->model, "Hugging Face model folder, compressed or not")->required();
  AddFiles(command, "--text", &arguments->texts,
           ".txt, .jsonl (.gz, .zst, .xz) or .parquet: perplexity; may be repeated");
  AddFiles(command, "--multiple-choice", &arguments->questions, ".jsonl: questions with choices; may be repeated");
  AddFiles(command, "--last-word", &arguments->last_words,
           "the same kinds of file: texts' last words; may be repeated");
  command->add_option("--field", arguments->field, "the field of .jsonl rows or the column of .parquet; default: text")
      ->type_name("NAME");
  command
      ->add_option("--choice-fields", arguments->choice_fields,
                   "the fields of context, choices and answer; default: context,choices,answer")
      ->type_name("A,B,C")
      ->delimiter(',')
      ->expected(kChoiceFields);
  command->add_option("--reference", arguments->reference, "compare with this model")->type_name("MODEL");
  command->add_option("--seqlen", arguments->sequence_length, "tokens per window; default: the model's, at most 2048")
      ->type_name("N")
      ->check(CLI::Range(2, 1 << 24));
  command->add_option("--max-windows", arguments->max_windows, "at most so many windows of each text")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--max-examples", arguments->max_examples, "at most so many rows of each task")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--html", arguments->html, "write the figures as a page too; -: to standard output instead")
      ->type_name("FILE");
  AddLocalOptions(command, &arguments->cluster);
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] {
    if (arguments->texts.empty() && arguments->questions.empty() && arguments->last_words.empty()) {
      throw CLI::RequiredError("--text, --multiple-choice or --last-word");
    }
    if (arguments->html == "-" && arguments->json) throw CLI::ExcludesError("--json", "--html -");
    *action = [=](const Console& console) { return Eval(*arguments, console); };
  });
}

}  // namespace calipress::cli
