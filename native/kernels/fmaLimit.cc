// How many floating-point operations a second the machine can do at best: chains of fused multiply-adds in registers.
#include "clock.h"
#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr int chains = 12;  // more than latency times throughput of any of these machines

float runChains(int rounds, float seed) {
  Vec x[chains];
  for (int c = 0; c < chains; c++) x[c] = splat(seed + float(c));
  const Vec factor = splat(0.999f), term = splat(seed);
  for (int i = 0; i < rounds; i++) {
#pragma GCC unroll 16
    for (int c = 0; c < chains; c++) x[c] = fma(x[c], factor, term);
  }
  Vec sum = {};
  for (int c = 0; c < chains; c++) sum += x[c];
  return sumLanes(sum);
}

}  // namespace

double fmaLimit(ThreadPool& pool, double seconds) {
  constexpr int rounds = 20000;
  double rates[ThreadPool::maxThreads] = {};
  parallelTasks(pool, pool.threads(), [&](Index task, int) {
    // The best of some slices of the time, since others may use the machine too.
    volatile float sink = 1e-3f;  // what each run starts from and ends with, so that none can be left out
    const double start = now();
    double before = start;
    while (before - start < seconds) {
      for (int i = 0; i < 10; i++) sink = runChains(rounds, sink * 1e-6f + 1e-3f);
      const double after = now();
      const double rate = 10.0 * rounds * chains * W * 2 / (after - before);
      if (rate > rates[task]) rates[task] = rate;
      before = after;
    }
  });
  double total = 0;
  for (double rate : rates) total += rate;
  return total;
}

}  // namespace lockstep::LOCKSTEP_ISA
