#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/cli/program.h"

int main(int argc, char** argv) {
  calipress::cli::Console console{std::cout, std::cerr};
  const char* kind = std::getenv("TERM");
  console.err_is_terminal = isatty(STDERR_FILENO) != 0 && kind != nullptr && std::string(kind) != "dumb";
  winsize size{};
  if (console.err_is_terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    console.columns = size.ws_col;
  }
  return calipress::cli::RunProgram(std::vector<std::string>(argv + 1, argv + argc), console);
}
