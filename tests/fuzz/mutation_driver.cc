#include "tests/fuzz/mutation_driver.h"

#include <fcntl.h>
#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "compress/base/clock.h"
#include "compress/base/random.h"

namespace calipress::fuzz {
namespace {

std::string current;

void LeaveInput(int signal) {
  const int file = open("crash-input", O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file >= 0) {
    if (write(file, current.data(), current.size()) < 0) _exit(2);
    close(file);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

const std::vector<std::string>& Nasty() {
  static const std::vector<std::string> tokens = {"9223372036854775807",
                                                  "9223372036854775808",
                                                  "18446744073709551616",
                                                  "-1",
                                                  "1e999",
                                                  "0",
                                                  "4294967296",
                                                  "[[[[[[[[",
                                                  "{{{{",
                                                  "\"",
                                                  "\\u0000",
                                                  "\xff\xfe",
                                                  "../",
                                                  "null",
                                                  "true",
                                                  "[]",
                                                  "{}",
                                                  std::string(1, '\0'),
                                                  "&a [*a]",
                                                  ",",
                                                  ":"};
  return tokens;
}

std::string Mutate(const std::vector<std::string>& seeds, RandomStream& random) {
  std::string input = seeds[random.Below(seeds.size())];
  const int changes = 1 + static_cast<int>(random.Below(6));
  for (int i = 0; i < changes; ++i) {
    const size_t at = input.empty() ? 0 : random.Below(input.size());
    switch (random.Below(6)) {
      case 0:
        if (!input.empty()) input[at] = static_cast<char>(random.Next());
        break;
      case 1:
        input.resize(at);
        break;
      case 2:
        input.insert(at, Nasty()[random.Below(Nasty().size())]);
        break;
      case 3:
        if (!input.empty()) input.erase(at, 1 + random.Below(8));
        break;
      case 4: {
        const std::string& other = seeds[random.Below(seeds.size())];
        const size_t from = other.empty() ? 0 : random.Below(other.size());
        input.insert(at, other.substr(from, random.Below(64)));
        break;
      }
      default: {
        // A number grows or shrinks.
        const size_t digit = input.find_first_of("0123456789", at);
        if (digit != std::string::npos) input.replace(digit, 1, Nasty()[random.Below(7)]);
      }
    }
  }
  return input;
}

}  // namespace

int Drive(int argc, char** argv, const std::vector<std::string>& seeds) {
  for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS}) std::signal(signal, LeaveInput);
  const double seconds = argc > 1 ? std::atof(argv[1]) : 4.0;
  RandomStream random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1, 0);
  for (const std::string& seed : seeds) {
    current = seed;
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(seed.data()), seed.size());
  }
  int64_t runs = 0;
  for (Stopwatch watch; watch.Seconds() < seconds; ++runs) {
    current = Mutate(seeds, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
  }
  std::printf("%lld inputs, none crashed\n", static_cast<long long>(runs));
  return runs > 0 ? 0 : 1;
}

}  // namespace calipress::fuzz
