// What Muon needs besides products: weighted sums of parts of matrices, and a matrix divided by its norm.
#include <cmath>

#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {

bool squaredNorm(ThreadPool&, const float*, Index, double*);

namespace {

constexpr Index grain = 16384;

void sumOfRow(const WeightedSumArguments& p, float* out, const float* a, const float* b, Index size) {
  const Vec scaleA = splat(p.scaleA), scaleB = splat(p.scaleB);
  forVectors(size, [&](Index i, int count) {
    storeAny(out + i, fma(scaleA, loadAny(a + i, count), scaleB * loadAny(b + i, count)), count);
  });
}

}  // namespace

bool weightedSum(ThreadPool& pool, const WeightedSumArguments& p) {
  if (p.outStride == p.columns && p.aStride == p.columns && p.bStride == p.columns) {
    parallelRanges(pool, p.rows * p.columns, grain, 64, [&](Index begin, Index end, int) {
      sumOfRow(p, p.out + begin, p.a + begin, p.b + begin, end - begin);
    });
    return true;
  }
  parallelRanges(pool, p.rows, ceilDiv(grain, p.columns), 1, [&](Index begin, Index end, int) {
    for (Index row = begin; row < end; row++) {
      sumOfRow(p, p.out + row * p.outStride, p.a + row * p.aStride, p.b + row * p.bStride, p.columns);
    }
  });
  return true;
}

bool normalise(ThreadPool& pool, float* data, Index size, double eps) {
  double squares;
  if (!squaredNorm(pool, data, size, &squares)) return false;
  const double norm = std::sqrt(squares);
  const Vec scale = splat(float(1 / (norm > eps ? norm : eps)));
  parallelRanges(pool, size, grain, 64, [&](Index begin, Index end, int) {
    forVectors(end - begin, [&](Index offset, int count) {
      float* at = data + begin + offset;
      storeAny(at, loadAny(at, count) * scale, count);
    });
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
