#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace calipress::tensor {

struct FreeAligned {
  void operator()(void* memory) const { std::free(memory); }
};

template <typename T>
using AlignedBuffer = std::unique_ptr<T[], FreeAligned>;

// `count` elements on a cache line, not initialized. Throws std::bad_alloc.
template <typename T>
AlignedBuffer<T> MakeAlignedBuffer(int64_t count) {
  constexpr size_t kLine = 64;
  const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + kLine - 1) / kLine * kLine;
  void* memory = std::aligned_alloc(kLine, bytes == 0 ? kLine : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return AlignedBuffer<T>(static_cast<T*>(memory));
}

}  // namespace calipress::tensor
