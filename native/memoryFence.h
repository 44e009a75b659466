// Under the address sanitizer: while a native function runs, the memory around its array arguments is poisoned. Tensors share big
// buffers, so a kernel that reads or writes outside its arguments would usually hit another tensor, which the
// sanitizer does not report. In other builds it does nothing.
#pragma once

#include <node_api.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <vector>
#endif

namespace lockstep {

#if defined(__SANITIZE_ADDRESS__)

class MemoryFence {
 public:
  MemoryFence() = default;
  MemoryFence(const MemoryFence&) = delete;
  MemoryFence& operator=(const MemoryFence&) = delete;

  ~MemoryFence() {
    for (const Range& fence : fences_) __asan_unpoison_memory_region(fence.begin, fence.end - fence.begin);
  }

  // Fences `bytes` at `data`, which starts at `offset` of an ArrayBuffer or SharedArrayBuffer, within the buffer. Arguments may
// overlap or be adjacent.
  void open(napi_env env, napi_value buffer, size_t offset, void* data, size_t bytes) {
    napi_value byteLength;
    double bufferBytes = 0;
    if (data == nullptr || napi_get_named_property(env, buffer, "byteLength", &byteLength) != napi_ok ||
        napi_get_value_double(env, byteLength, &bufferBytes) != napi_ok) {
      return;
    }
    char* const begin = static_cast<char*>(data);
    const size_t before = std::min(offset, width), after = std::min(size_t(bufferBytes) - offset - bytes, width);
    arguments_.push_back({begin, begin + bytes});
    fences_.push_back({begin - before, begin + bytes + after});
    __asan_poison_memory_region(begin - before, before);
    __asan_poison_memory_region(begin + bytes, after);
    for (const Range& argument : arguments_) __asan_unpoison_memory_region(argument.begin, argument.end - argument.begin);
  }

 private:
  struct Range {
    char* begin;
    char* end;
  };
  static constexpr size_t width = 64 << 10;

  std::vector<Range> arguments_, fences_;
};

#else

class MemoryFence {
 public:
  void open(napi_env, napi_value, size_t, void*, size_t) {}
};

#endif

}  // namespace lockstep
