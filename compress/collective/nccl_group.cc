#include "compress/collective/nccl_group.h"

#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/thread.h"
#include "compress/collective/c10d_call.h"
#include "compress/collective/c10d_group.h"
#include "compress/collective/gloo_backend.h"

namespace calipress::collective {
namespace {

constexpr std::chrono::microseconds kPoll{50};
// For a pair to make its communicator; all ranks do nothing else at that time.
constexpr std::chrono::seconds kCommunicator{120};

bool PollWork(c10d::Work& work, const PendingWorks& works) {
  while (!work.isCompleted()) {
    if (!works.failure().ok()) return false;
    std::this_thread::sleep_for(kPoll);
  }
  if (const std::exception_ptr failure = work.exception()) std::rethrow_exception(failure);
  work.synchronize();
  return works.failure().ok();
}

class NcclGroup : public C10dGroup {
 public:
  static absl::StatusOr<std::unique_ptr<Group>> Join(const Meeting& meeting, const CancellationToken& cancellation) {
    meeting.store->setTimeout(kCommunicator);
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = kNoTimeLimit;
    c10::intrusive_ptr<c10d::ProcessGroupNCCL> backend;
    CALIPRESS_RETURN_IF_ERROR(CallC10d("cannot start NCCL", [&] {
      backend =
          c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::make_intrusive<c10d::PrefixStore>("data", meeting.store),
                                                      meeting.options.rank, meeting.options.size, options);
    }));
    auto group = std::unique_ptr<NcclGroup>(new NcclGroup(meeting, std::move(backend)));
    CALIPRESS_RETURN_IF_ERROR(group->Start(meeting, cancellation));
    group->works().OnFailure([g = group.get()] { g->AbortSoon(); });
    CALIPRESS_RETURN_IF_ERROR(group->MakeCommunicators());
    return group;
  }

  ~NcclGroup() override {
    const bool failed = !works().failure().ok();
    // No hook runs from here on.
    works().Close();
    if (aborter_.joinable()) aborter_.join();
    (void)CallC10d("leaving", [&] { failed ? backend().abort() : backend().shutdown(); });
  }

  absl::Status AllReduceSum(at::Tensor tensor) override {
    return AllReduce("summing over the ranks", std::move(tensor), c10d::ReduceOp::SUM);
  }
  absl::Status AllReduceMax(at::Tensor tensor) override {
    return AllReduce("taking the maximum over the ranks", std::move(tensor), c10d::ReduceOp::MAX);
  }

  // A broadcast per part: sends and receives between a pair would wait for each other on its one stream.
  absl::Status AllGather(std::vector<at::Tensor> parts) override {
    CALIPRESS_RETURN_IF_ERROR(CheckParts(parts));
    std::vector<std::unique_ptr<Transfer>> transfers;
    for (int root = 0; root < size(); ++root) {
      if (parts[root].numel() == 0) continue;
      c10d::BroadcastOptions options;
      options.rootRank = root;
      CALIPRESS_ASSIGN_OR_RETURN(transfers.emplace_back(), Begin("gathering from the ranks", parts[root], [&] {
                                   std::vector<at::Tensor> tensors{parts[root]};
                                   return backend().broadcast(tensors, options);
                                 }));
    }
    for (auto& transfer : transfers) CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
    return absl::OkStatus();
  }

  absl::Status Barrier() override {
    // A sum cannot be known before everyone has brought their part.
    return AllReduceSum(OneByte());
  }

 private:
  NcclGroup(const Meeting& meeting, c10::intrusive_ptr<c10d::Backend> backend)
      : C10dGroup(meeting, std::move(backend), at::kCUDA, PollWork) {}

  absl::Status AllReduce(const std::string& what, at::Tensor tensor, c10d::ReduceOp::RedOpType operation) {
    CALIPRESS_RETURN_IF_ERROR(CheckTensor(tensor));
    if (tensor.numel() == 0) return absl::OkStatus();
    c10d::AllreduceOptions options;
    options.reduceOp = operation;
    CALIPRESS_ASSIGN_OR_RETURN(auto transfer, Begin(what, tensor, [&] {
                                 std::vector<at::Tensor> tensors{tensor};
                                 return backend().allreduce(tensors, options);
                               }));
    return transfer->Wait();
  }

  static at::Tensor OneByte() {
    return at::zeros({1}, at::TensorOptions(at::kByte).device(at::kCUDA, c10::cuda::current_device()));
  }

  // Pairs in one order that all ranks share, so that no two wait for each other.
  absl::Status MakeCommunicators() {
    CALIPRESS_RETURN_IF_ERROR(Barrier());
    for (int low = 0; low < size(); ++low) {
      for (int high = low + 1; high < size(); ++high) {
        if (rank() != low && rank() != high) continue;
        at::Tensor byte = OneByte();
        CALIPRESS_ASSIGN_OR_RETURN(auto transfer, rank() == low ? Send(byte, high) : Receive(byte, low));
        CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
      }
    }
    return absl::OkStatus();
  }

  // Aborting waits for kernels to end; the caller of a hook does not.
  void AbortSoon() {
    aborter_ = StartThread("nccl-abort", [this] { (void)CallC10d("abort", [&] { backend().abort(); }); });
  }

  std::jthread aborter_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Group>> JoinNccl(const Meeting& meeting, const CancellationToken& cancellation) {
  return NcclGroup::Join(meeting, cancellation);
}

void TameNcclWatchdogs() {
  // Errors come back from Wait; a rank that waits for an hour is not in trouble; what the user has set stays.
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", /*overwrite=*/0);
  setenv("TORCH_NCCL_ENABLE_MONITORING", "0", 0);
  setenv("TORCH_NCCL_DUMP_ON_TIMEOUT", "0", 0);
  setenv("TORCH_NCCL_PROPAGATE_ERROR", "0", 0);
}

}  // namespace calipress::collective
