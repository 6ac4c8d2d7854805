#pragma once

#include <string>
#include <vector>

namespace calipress::cli {

// What a shell may offer after a verb.
struct VerbWords {
  std::string verb;
  std::string description;
  std::vector<std::string> options;  // "--recipe"
};

// A script that completes `calipress` in a shell: verbs first, then the verb's options, file names otherwise.
std::string BashCompletion(const std::vector<VerbWords>& verbs);
std::string ZshCompletion(const std::vector<VerbWords>& verbs);
std::string FishCompletion(const std::vector<VerbWords>& verbs);

}  // namespace calipress::cli
