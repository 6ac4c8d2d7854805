#include "client/cli/completion_script.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace calipress::cli {
namespace {

// Inside single quotes of any of the three shells.
std::string Quoted(const std::string& text) { return absl::StrReplaceAll(text, {{"'", ""}, {"\\", ""}, {":", ""}}); }

std::vector<std::string> Names(const std::vector<VerbWords>& verbs) {
  std::vector<std::string> names;
  names.reserve(verbs.size());
  for (const VerbWords& verb : verbs) names.push_back(verb.verb);
  return names;
}

}  // namespace

std::string BashCompletion(const std::vector<VerbWords>& verbs) {
  std::string script = absl::StrCat(
      "# calipress completion bash > /etc/bash_completion.d/calipress, or: source <(calipress completion bash)\n"
      "_calipress() {\n"
      "  local word=\"${COMP_WORDS[COMP_CWORD]}\" words=\"\"\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '",
      absl::StrJoin(Names(verbs), " "),
      " --help --version' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case \"${COMP_WORDS[1]}\" in\n");
  for (const VerbWords& verb : verbs) {
    absl::StrAppend(&script, "    ", verb.verb, ") words='", absl::StrJoin(verb.options, " "), "' ;;\n");
  }
  absl::StrAppend(&script,
                  "  esac\n"
                  "  case \"$word\" in\n"
                  "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
                  "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
                  "  esac\n"
                  "}\n"
                  "complete -o filenames -F _calipress calipress\n");
  return script;
}

std::string ZshCompletion(const std::vector<VerbWords>& verbs) {
  std::string script =
      "#compdef calipress\n"
      "# calipress completion zsh > \"${fpath[1]}/_calipress\"\n"
      "_calipress() {\n"
      "  local -a verbs\n"
      "  verbs=(\n";
  for (const VerbWords& verb : verbs) {
    absl::StrAppend(&script, "    '", verb.verb, ":", Quoted(verb.description), "'\n");
  }
  absl::StrAppend(&script,
                  "  )\n"
                  "  if (( CURRENT == 2 )); then\n"
                  "    _describe 'verb' verbs\n"
                  "    return\n"
                  "  fi\n"
                  "  case \"${words[2]}\" in\n");
  for (const VerbWords& verb : verbs) {
    absl::StrAppend(&script, "    ", verb.verb, ") compadd -- ", absl::StrJoin(verb.options, " "), " ;;\n");
  }
  absl::StrAppend(&script,
                  "  esac\n"
                  "  _files\n"
                  "}\n"
                  "compdef _calipress calipress\n");
  return script;
}

std::string FishCompletion(const std::vector<VerbWords>& verbs) {
  std::string script = "# calipress completion fish > ~/.config/fish/completions/calipress.fish\n";
  for (const VerbWords& verb : verbs) {
    absl::StrAppend(&script, "complete -c calipress -n __fish_use_subcommand -f -a ", verb.verb, " -d '",
                    Quoted(verb.description), "'\n");
    for (const std::string& option : verb.options) {
      absl::StrAppend(&script, "complete -c calipress -n '__fish_seen_subcommand_from ", verb.verb, "' -l ",
                      option.substr(2), "\n");
    }
  }
  return script;
}

}  // namespace calipress::cli
