// Linear layer: three matrix products.
#include "gemv.h"
#include "linearBf16.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// The weight as an [IC, OC] matrix: its strides along IC and OC.
struct WeightStrides {
  Index ic, oc;
};
WeightStrides stridesOf(Index ic, Index oc, bool transposed) {
  return transposed ? WeightStrides{1, ic} : WeightStrides{oc, 1};
}

template <class T>
void addColumnSumsOf(ThreadPool& pool, const T* matrix, Index rows, Index columns, float* sums) {
  parallelRanges(pool, columns, 64, 64, [&](Index begin, Index end, int) {
    forVectors(end - begin, [&](Index offset, int count) {
      Vec sum = {};
      const T* p = matrix + begin + offset;
      for (Index i = 0; i < rows; i++, p += columns) sum += loadAny(p, count);
      storeAny(sums + begin + offset, loadAny(sums + begin + offset, count) + sum, count);
    });
  });
}

}  // namespace

void addColumnSums(ThreadPool& pool, FloatArray matrix, Index rows, Index columns, float* sums) {
  if (matrix.bfloat16) addColumnSumsOf(pool, static_cast<const uint16_t*>(matrix.data), rows, columns, sums);
  else addColumnSumsOf(pool, static_cast<const float*>(matrix.data), rows, columns, sums);
}

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
  return p.rowsApart || p.n <= gemvRowsMost ? gemv(pool, product) : gemm(pool, product);
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
  if (p.dweight == nullptr) {
    if (p.dbias != nullptr) addColumnSums(pool, p.dout, p.n, p.oc, p.dbias);
    return true;
  }
  const FloatArray dweight = {p.dweight, false};
  if (!p.weightTransposed) {
    // dweight [IC, OC] += inpᵀ · dout, and dbias with it
    return gemm(pool, {p.ic, p.oc, p.n, inp, 1, p.ic, dout, p.oc, 1, {.c = dweight, .ldc = p.oc, .accumulate = true}, p.dbias});
  }
  // dweight [OC, IC] += doutᵀ · inp
  if (p.dbias != nullptr) addColumnSums(pool, p.dout, p.n, p.oc, p.dbias);
  return gemm(pool, {p.oc, p.ic, p.n, dout, 1, p.oc, inp, p.ic, 1, {.c = dweight, .ldc = p.ic, .accumulate = true}});
}

}  // namespace lockstep::LOCKSTEP_ISA
