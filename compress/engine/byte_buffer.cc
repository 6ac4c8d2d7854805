#include "compress/engine/byte_buffer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include "compress/base/status_macros.h"

namespace calipress::engine {
namespace {

constexpr int8_t kUndefined = -1;

}  // namespace

void ByteWriter::PutString(const std::string& text) {
  Put<int64_t>(static_cast<int64_t>(text.size()));
  Append(text.data(), text.size());
}

void ByteWriter::PutTensor(const at::Tensor& tensor) {
  Put<int8_t>(tensor.defined() ? static_cast<int8_t>(tensor.scalar_type()) : kUndefined);
  if (!tensor.defined()) return;
  const at::Tensor local = tensor.cpu().contiguous();
  Put<int64_t>(local.dim());
  for (const int64_t size : local.sizes()) Put<int64_t>(size);
  Append(local.const_data_ptr(), local.nbytes());
}

bool ByteReader::Read(void* to, size_t size) {
  if (!ok_ || size > bytes_.size() - at_) {
    ok_ = false;
    return false;
  }
  if (size > 0) std::memcpy(to, bytes_.data() + at_, size);  // an empty tensor has no address
  at_ += size;
  return true;
}

std::string ByteReader::TakeString() {
  const int64_t size = Take<int64_t>();
  if (!ok_ || size < 0 || static_cast<size_t>(size) > bytes_.size() - at_) {
    ok_ = false;
    return "";
  }
  std::string text = bytes_.substr(at_, size);
  at_ += size;
  return text;
}

at::Tensor ByteReader::TakeTensor() {
  const auto dtype = Take<int8_t>();
  if (!ok_ || dtype == kUndefined) return {};
  std::vector<int64_t> sizes;
  for (int64_t left = Take<int64_t>(); left > 0 && ok_; --left) sizes.push_back(Take<int64_t>());
  int64_t room = static_cast<int64_t>(bytes_.size() - at_);
  for (const int64_t size : sizes) {
    if (size < 0 || (size > 0 && room / size == 0)) ok_ = false;
    if (size > 0) room /= size;
  }
  if (!ok_) return {};
  at::Tensor tensor = at::empty(sizes, at::TensorOptions().dtype(static_cast<at::ScalarType>(dtype)));
  if (!Read(tensor.mutable_data_ptr(), tensor.nbytes())) return {};
  return tensor.to(device_);
}

absl::StatusOr<std::vector<std::string>> GatherBytes(collective::Group& group, const std::string& mine,
                                                     at::Device device) {
  at::Tensor sizes = at::zeros({group.size()}, at::kLong);
  sizes[group.rank()] = static_cast<int64_t>(mine.size());
  sizes = sizes.to(device);
  CALIPRESS_RETURN_IF_ERROR(group.AllReduceSum(sizes));
  sizes = sizes.cpu();
  std::vector<at::Tensor> parts;
  parts.reserve(group.size());
  for (int rank = 0; rank < group.size(); ++rank) {
    parts.push_back(at::empty({sizes[rank].item<int64_t>()}, at::TensorOptions().dtype(at::kByte).device(device)));
  }
  parts[group.rank()] =
      at::from_blob(const_cast<char*>(mine.data()), {static_cast<int64_t>(mine.size())}, at::kByte).to(device);
  CALIPRESS_RETURN_IF_ERROR(group.AllGather(parts));
  std::vector<std::string> all;
  for (int rank = 0; rank < group.size(); ++rank) {
    if (rank == group.rank()) {
      all.push_back(mine);
      continue;
    }
    const at::Tensor local = parts[rank].cpu();
    all.emplace_back(static_cast<const char*>(local.const_data_ptr()), local.nbytes());
    parts[rank].reset();
  }
  return all;
}

}  // namespace calipress::engine
