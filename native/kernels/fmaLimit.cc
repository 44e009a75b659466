// The maximum rate of floating-point operations: chains of fused multiply-adds in registers.
#include "registerLimit.h"
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
  return registerLimit(pool, seconds, 2.0 * rounds * chains * W, [](float seed) { return runChains(rounds, seed); });
}

}  // namespace lockstep::LOCKSTEP_ISA
