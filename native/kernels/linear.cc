// Linear layer: three matrix products and a column sum.
#include "gemm.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// The weight as the [IC, OC] matrix it stands for: its strides along IC and OC.
struct WeightStrides {
  Index ic, oc;
};
WeightStrides stridesOf(Index ic, Index oc, bool transposed) {
  return transposed ? WeightStrides{1, ic} : WeightStrides{oc, 1};
}

// sums[j] += the sum over rows of matrix[i, j], in the order of the rows. Threads share the columns.
void addColumnSums(ThreadPool& pool, const float* matrix, Index rows, Index columns, float* sums) {
  const Index grain = 1 + 65536 / (rows + 1);
  parallelRanges(pool, columns, grain < 64 ? 64 : grain, 64, [&](Index begin, Index end, int) {
    Index j = begin;
    for (; j + 4 * W <= end; j += 4 * W) {
      Vec sum[4] = {};
      const float* p = matrix + j;
      for (Index i = 0; i < rows; i++, p += columns) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) sum[v] += load(p + v * W);
      }
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) store(sums + j + v * W, load(sums + j + v * W) + sum[v]);
    }
    forVectors(end - j, [&](Index offset, int count) {
      Vec sum = {};
      const float* p = matrix + j + offset;
      for (Index i = 0; i < rows; i++, p += columns) sum += loadAny(p, count);
      storeAny(sums + j + offset, loadAny(sums + j + offset, count) + sum, count);
    });
  });
}

}  // namespace

bool linearForward(ThreadPool& pool, const LinearForwardArguments& p) {
  const WeightStrides weight = stridesOf(p.ic, p.oc, p.weightTransposed);
  gemm(pool, {p.n, p.oc, p.ic, p.inp, p.ic, 1, p.weight, weight.ic, weight.oc, p.out, p.oc, p.bias, false});
  return true;
}

bool linearBackward(ThreadPool& pool, const LinearBackwardArguments& p) {
  const WeightStrides weight = stridesOf(p.ic, p.oc, p.weightTransposed);
  // dinp [N, IC] = dout [N, OC] · weightᵀ
  if (p.dinp != nullptr) {
    gemm(pool, {p.n, p.ic, p.oc, p.dout, p.oc, 1, p.weight, weight.oc, weight.ic, p.dinp, p.ic, nullptr, p.accumulate});
  }
  if (p.weightTransposed) {
    // dweight [OC, IC] += doutᵀ · inp
    gemm(pool, {p.oc, p.ic, p.n, p.dout, 1, p.oc, p.inp, p.ic, 1, p.dweight, p.ic, nullptr, true});
  } else {
    // dweight [IC, OC] += inpᵀ · dout
    gemm(pool, {p.ic, p.oc, p.n, p.inp, 1, p.ic, p.dout, p.oc, 1, p.dweight, p.oc, nullptr, true});
  }
  if (p.dbias != nullptr) addColumnSums(pool, p.dout, p.n, p.oc, p.dbias);
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
