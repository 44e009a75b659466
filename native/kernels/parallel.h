// Loops over the thread pool. Where a loop is cut never changes a result: kernels that sum cut by size, not by thread count.
#pragma once

#include "kernels.h"

namespace lockstep::LOCKSTEP_ISA {

// body(task, thread) for every task.
template <class Body>
static inline void parallelTasks(ThreadPool& pool, Index tasks, Body body) {
  if (tasks <= 0) return;
  if (tasks == 1) return body(0, 0);
  pool.run(int(tasks), [](void* context, int task, int thread) { (*static_cast<Body*>(context))(task, thread); }, &body);
}

// body(begin, end, thread) over [0, size), in pieces of at least `grain` and a multiple of `unit`; a few for each thread, so that
// one which the system interrupts does not keep the others waiting for long.
template <class Body>
static inline void parallelRanges(ThreadPool& pool, Index size, Index grain, Index unit, Body body) {
  Index pieces = size / grain;
  const Index most = pool.threads() == 1 ? 1 : Index(pool.threads()) * 3;
  if (pieces > most) pieces = most;
  if (pieces <= 1) {
    if (size > 0) body(Index(0), size, 0);
    return;
  }
  const Index piece = ((size + pieces - 1) / pieces + unit - 1) / unit * unit;
  parallelTasks(pool, (size + piece - 1) / piece, [&](int task, int thread) {
    const Index begin = task * piece;
    body(begin, begin + piece < size ? begin + piece : size, thread);
  });
}

}  // namespace lockstep::LOCKSTEP_ISA
