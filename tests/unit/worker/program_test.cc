// calipress-worker as a process: what it says and how it exits.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

extern char** environ;

namespace {

class WorkerProgramTest : public ::testing::Test {
 protected:
  WorkerProgramTest() : folder_(std::filesystem::temp_directory_path() / ("program_test_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~WorkerProgramTest() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }

  std::string Write(const std::string& yaml) {
    const auto path = folder_ / "worker.yaml";
    std::ofstream(path) << yaml;
    return path.string();
  }

  void Start(std::vector<std::string> arguments) {
    // The tests and the programs lie in one folder.
    const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "calipress-worker";
    ASSERT_TRUE(std::filesystem::exists(program)) << program;
    arguments.insert(arguments.begin(), program.string());
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    const std::string out = (folder_ / "out").string();
    posix_spawn_file_actions_addopen(&files, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    ASSERT_EQ(posix_spawn(&pid_, program.c_str(), &files, nullptr, pointers.data(), environ), 0);
    posix_spawn_file_actions_destroy(&files);
  }

  // The exit code, -signal, or -1000 where it runs on.
  int Wait(double seconds = 30) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (std::chrono::steady_clock::now() < deadline) {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return -1000;
  }

  std::string Output() const {
    std::stringstream text;
    text << std::ifstream(folder_ / "out").rdbuf();
    return text.str();
  }
  bool AwaitOutput(const std::string& text) const {
    for (int i = 0; i < 2000; ++i) {
      if (Output().find(text) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  std::filesystem::path folder_;
  pid_t pid_ = -1;
};

TEST_F(WorkerProgramTest, HelpHasAnExampleAndVersionAVersion) {
  Start({"--help"});
  EXPECT_EQ(Wait(), 0);
  EXPECT_NE(Output().find("coordinator: 127.0.0.1:7070"), std::string::npos) << Output();
  Start({"--version"});
  EXPECT_EQ(Wait(), 0);
  EXPECT_EQ(Output().find("calipress-worker "), 0u) << Output();
}

TEST_F(WorkerProgramTest, WrongUsageIsExitCode2WithTheReason) {
  const struct {
    std::vector<std::string> arguments;
    std::string text;
  } cases[] = {{{}, "--config FILE is needed"},
               {{"--confg"}, "--confg"},
               {{"--config", "/there/is/none.yaml"}, "/there/is/none.yaml"},
               {{"--config", Write("cordinator: 127.0.0.1:7070\n")}, "coordinator"}};
  for (const auto& wrong : cases) {
    Start(wrong.arguments);
    EXPECT_EQ(Wait(), 2) << wrong.text;
    EXPECT_NE(Output().find(wrong.text), std::string::npos) << Output();
  }
}

// Without the module as well as with it, on a machine without an accelerator.
TEST_F(WorkerProgramTest, CudaThatIsNotThereIsRefusedWithAdvice) {
  if (std::filesystem::exists("/dev/nvidiactl")) GTEST_SKIP() << "this machine has an accelerator";
  Start({"--config", Write("device: cuda\n")});
  EXPECT_EQ(Wait(), 1);
  EXPECT_NE(Output().find("set `device: cpu`"), std::string::npos) << Output();
}

// Nothing listens on port 1: the worker waits for its coordinator for ever, and leaves when it is told to.
TEST_F(WorkerProgramTest, SigtermEndsAnIdleWorkerThoughItsCoordinatorIsAway) {
  Start({"--config", Write("coordinator: 127.0.0.1:1\nthreads: 1\n")});
  ASSERT_TRUE(AwaitOutput("no answer from the coordinator")) << Output();
  kill(pid_, SIGTERM);
  EXPECT_EQ(Wait(), 0) << Output();
  EXPECT_NE(Output().find("worker stops"), std::string::npos) << Output();
}

}  // namespace
