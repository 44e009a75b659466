// Linear layer: three matrix products and a column sum.
#include "gemv.h"
#include "linearBf16.h"
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
  if (p.inp.bfloat16) return linearForwardBf16(pool, p);
  const WeightStrides weight = stridesOf(p.ic, p.oc, p.weightTransposed);
  const Epilogue to = {.c = p.out,
                       .ldc = p.oc,
                       .bias = p.bias,
                       .activation = p.activation,
                       .preActivation = p.preActivation,
                       .residual = p.residual,
                       .dropout = p.dropout,
                       .sampleRows = p.sampleRows};
  const Gemm product = {p.n, p.oc, p.ic, static_cast<const float*>(p.inp.data), p.ic, 1, p.weight, weight.ic, weight.oc, to};
  return p.n <= gemvRowsMost ? gemv(pool, product) : gemm(pool, product);
}

bool linearBackward(ThreadPool& pool, const LinearBackwardArguments& p) {
  if (p.inp.bfloat16 || p.dout.bfloat16) return linearBackwardBf16(pool, p);
  const float* inp = static_cast<const float*>(p.inp.data);
  const float* dout = static_cast<const float*>(p.dout.data);
  const WeightStrides weight = stridesOf(p.ic, p.oc, p.weightTransposed);
  // dinp [N, IC] = dout [N, OC] · weightᵀ
  if (p.dinp.data != nullptr) {
    const Epilogue to = {.c = p.dinp,
                         .ldc = p.ic,
                         .activation = p.dinpActivation,
                         .preActivation = p.dinpPreActivation,
                         .slope = true,
                         .accumulate = p.accumulate};
    if (!gemm(pool, {p.n, p.ic, p.oc, dout, p.oc, 1, p.weight, weight.oc, weight.ic, to})) return false;
  }
  // dweight [IC, OC] += inpᵀ · dout, or [OC, IC] += doutᵀ · inp
  const FloatArray dweight = {p.dweight, false};
  const bool summed = p.weightTransposed ? gemm(pool, {p.oc, p.ic, p.n, dout, 1, p.oc, inp, p.ic, 1,
                                                       {.c = dweight, .ldc = p.ic, .accumulate = true}})
                                         : gemm(pool, {p.ic, p.oc, p.n, inp, 1, p.ic, dout, p.oc, 1,
                                                       {.c = dweight, .ldc = p.oc, .accumulate = true}});
  if (p.dbias != nullptr) addColumnSums(pool, dout, p.n, p.oc, p.dbias);
  return summed;
}

}  // namespace lockstep::LOCKSTEP_ISA
