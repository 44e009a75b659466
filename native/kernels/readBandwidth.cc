// The maximum read rate in bytes per second: sums an array, whose size determines the cache or memory it comes from.
#include "clock.h"
#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// A task reads this many floats, as several streams at once: a single stream does not keep enough lines in transit.
constexpr Index pieceFloats = 1 << 18, streams = 4;
constexpr Index lineFloats = 16, aheadFloats = 512;

float sumPiece(const float* data, Index size) {
  Vec sums[streams] = {};
  const Index part = size / streams / lineFloats * lineFloats;
  for (Index i = 0; i < part; i += lineFloats) {
#pragma GCC unroll 4
    for (Index stream = 0; stream < streams; stream++) {
      const float* line = data + stream * part + i;
      __builtin_prefetch(line + aheadFloats);
#pragma GCC unroll 4
      for (Index j = 0; j < lineFloats; j += W) sums[stream] += load(line + j);
    }
  }
  Vec sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  forVectors(size - streams * part, [&](Index i, int count) { sum += loadAny(data + streams * part + i, count); });
  return sumLanes(sum);
}

}  // namespace

double readBandwidth(ThreadPool& pool, const float* data, Index size, double seconds) {
  // The best of several sweeps, because other programs may use the machine.
  double best = 0;
  const double start = now();
  double before = start;
  do {
    parallelTasks(pool, ceilDiv(size, pieceFloats), [&](Index task, int) {
      const Index first = task * pieceFloats;
      volatile float sink = sumPiece(data + first, size - first < pieceFloats ? size - first : pieceFloats);
      (void)sink;
    });
    const double after = now();
    const double rate = double(size) * sizeof(float) / (after - before);
    if (after > before && rate > best) best = rate;
    before = after;
  } while (before - start < seconds);
  return best;
}

}  // namespace lockstep::LOCKSTEP_ISA
