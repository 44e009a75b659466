// A pool of threads that divides the tasks of one kernel at a time. The caller works too. After a kernel, helpers spin for some tens of
// microseconds, because the next one usually follows soon, and then sleep, so that several processes can share a
// machine. Tasks are claimed one by one, so a helper that is not scheduled does not delay the others.
//
// The header defines no inline function: kernels are compiled for several instruction sets, and the linker might keep
// the copy of a shared inline function that the machine cannot run.
#pragma once

#include <cstddef>

#include "bf16Unit.h"

namespace lockstep {

// Runs task number `task` on thread number `thread` (0 is the caller).
using TaskFunction = void (*)(void* context, int task, int thread);

class ThreadPool {
 public:
  // `workspaceBytes` of scratch memory for each thread. Null, with `*error` set, if the system has no more threads or memory.
  static ThreadPool* create(int threads, size_t workspaceBytes, Bf16Unit bf16Unit, const char** error);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;
  // The unit with which kernels multiply bfloat16 numbers.
  Bf16Unit bf16Unit() const;
  // Calls `function` once for every task in [0, tasks), in any order and on any thread, and returns when all are done. At most
// maxTasks tasks, the maximum of a ticket.
  void run(int tasks, TaskFunction function, void* context);
  // The scratch memory of one thread, aligned to 64 bytes.
  void* workspace(int thread) const;
  // Memory for the current kernel, aligned to 64 bytes, with unspecified contents; null if not available.
  float* scratch(size_t floats);

  static constexpr int maxThreads = 256;
  static constexpr int maxTasks = 1 << 19;

 private:
  ThreadPool();
  struct State;
  State* state_;
};

}  // namespace lockstep
