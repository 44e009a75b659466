// The clock around computations in registers, whose rate is the limit of what kernels can reach.
#pragma once

#include "clock.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {

// Operations a second of all the pool's threads together. `run(seed)` does `operations` of them and returns a number that
// depends on all; each thread counts at its best slice of the time, since others may use the machine too.
template <class Run>
double registerLimit(ThreadPool& pool, double seconds, double operations, Run run) {
  double rates[ThreadPool::maxThreads] = {};
  parallelTasks(pool, pool.threads(), [&](Index task, int) {
    volatile float sink = 1e-3f;  // what each run starts from and ends with, so that none can be left out
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
