// Loops over the thread pool. The division of a loop never changes a result: kernels that sum divide by size, not by the number of threads.
#pragma once

#include "indexMath.h"

namespace lockstep::LOCKSTEP_ISA {

// body(task, thread) for every task in [0, tasks), of any number: the pool gets them in rounds of its maximum number of tasks.
template <class Body>
static inline void parallelTasks(ThreadPool& pool, Index tasks, Body body) {
  if (tasks == 1) return body(0, 0);
  struct Round {
    Body& body;
    Index first;
  };
  for (Index first = 0; first < tasks; first += ThreadPool::maxTasks) {
    Round round = {body, first};
    const Index rest = tasks - first;
    const auto runTask = [](void* context, int task, int thread) {
      const Round& round = *static_cast<Round*>(context);
      round.body(round.first + task, thread);
    };
    pool.run(int(rest < ThreadPool::maxTasks ? rest : ThreadPool::maxTasks), runTask, &round);
  }
}

// body(begin, end, thread) over [0, size), in pieces of at least `grain` and a multiple of `unit`; a few for each thread, so that
// an interrupted thread does not delay the others for long.
template <class Body>
static inline void parallelRanges(ThreadPool& pool, Index size, Index grain, Index unit, Body body) {
  Index pieces = size / grain;
  const Index most = pool.threads() == 1 ? 1 : Index(pool.threads()) * 3;
  if (pieces > most) pieces = most;
  if (pieces <= 1) {
    if (size > 0) body(Index(0), size, 0);
    return;
  }
  const Index piece = roundUp(ceilDiv(size, pieces), unit);
  parallelTasks(pool, ceilDiv(size, piece), [&](Index task, int thread) {
    const Index begin = task * piece;
    body(begin, begin + piece < size ? begin + piece : size, thread);
  });
}

}  // namespace lockstep::LOCKSTEP_ISA
