// The sum of squares in double precision, over pieces whose size is fixed, then over the pieces in order.
#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index piece = 16384;
constexpr int D = W / 2;
typedef double VecD __attribute__((vector_size(D * 8)));
typedef float VecHalf __attribute__((vector_size(D * 4)));

double sumOfSquares(const float* x, Index size) {
  VecD sum[4] = {};
  Index i = 0;
  for (; i + 4 * D <= size; i += 4 * D) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
      VecHalf half;
      __builtin_memcpy(&half, x + i + v * D, sizeof half);
      const VecD wide = __builtin_convertvector(half, VecD);
      sum[v] += wide * wide;
    }
  }
  double total = 0;
  for (; i < size; i++) total += double(x[i]) * double(x[i]);
  for (int v = 0; v < 4; v++) {
    for (int lane = 0; lane < D; lane++) total += sum[v][lane];
  }
  return total;
}

}  // namespace

bool squaredNorm(ThreadPool& pool, const float* data, Index size, double* result) {
  const Index pieces = ceilDiv(size, piece);
  auto* sums = reinterpret_cast<double*>(pool.scratch(size_t(pieces + 1) * 2));
  if (sums == nullptr) return false;
  parallelRanges(pool, pieces, 2, 1, [&](Index begin, Index end, int) {
    for (Index i = begin; i < end; i++) {
      const Index start = i * piece;
      sums[i] = sumOfSquares(data + start, start + piece < size ? piece : size - start);
    }
  });
  *result = 0;
  for (Index i = 0; i < pieces; i++) *result += sums[i];
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
