// Times computations in registers, whose rate is the upper limit for kernels.
#pragma once

#include "clock.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {

// Operations per second of all the pool's threads together. `run(seed)` executes `operations` of them and returns a number that
// depends on all of them. The best time slice of each thread counts, because other programs may use the machine.
template <class Run>
double registerLimit(ThreadPool& pool, double seconds, double operations, Run run) {
  double rates[ThreadPool::maxThreads] = {};
  parallelTasks(pool, pool.threads(), [&](Index task, int) {
    volatile float sink = 1e-3f;  // input and output of each run, so that the compiler cannot remove any
    const double start = now();
    double before = start;
    while (before - start < seconds) {
      for (int i = 0; i < 10; i++) sink = run(sink * 1e-6f + 1e-3f);
      const double after = now();
      const double rate = 10 * operations / (after - before);
      if (rate > rates[task]) rates[task] = rate;
      before = after;
    }
  });
  double total = 0;
  for (double rate : rates) total += rate;
  return total;
}

}  // namespace lockstep::LOCKSTEP_ISA
