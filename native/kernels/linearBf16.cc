#include "linearBf16.h"

#include "gemmBf16.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// A matrix with rows of `columns`, by its rows or by its columns.
LinesBf16 rowsOf(FloatArray matrix, Index columns) { return {matrix.data, matrix.bfloat16, columns, 1}; }
LinesBf16 columnsOf(FloatArray matrix, Index columns) { return {matrix.data, matrix.bfloat16, 1, columns}; }

// The weight by input or by output channels.
LinesBf16 byInput(const float* weight, Index ic, Index oc, bool transposed) {
  return transposed ? LinesBf16{weight, false, 1, ic} : LinesBf16{weight, false, oc, 1};
}
LinesBf16 byOutput(const float* weight, Index ic, Index oc, bool transposed) {
  return transposed ? LinesBf16{weight, false, ic, 1} : LinesBf16{weight, false, 1, oc};
}

// dweight += inpᵀ · dout, or its transpose; dbias with it. The operand with fewer channels is packed first.
bool addWeightGradient(ThreadPool& pool, const LinearBackwardArguments& p) {
  const LinesBf16 inp = columnsOf(p.inp, p.ic), dout = columnsOf(p.dout, p.oc);
  const Epilogue to = {.c = {p.dweight, false}, .ldc = p.weightTransposed ? p.ic : p.oc, .accumulate = true};
  if (p.ic <= p.oc) {
    return gemmBf16LongSums(pool, {.m = p.ic, .n = p.oc, .k = p.n, .a = inp, .b = dout, .to = to, .columnSums = p.dbias},
                            p.weightTransposed);
  }
  return gemmBf16LongSums(pool, {.m = p.oc, .n = p.ic, .k = p.n, .a = dout, .b = inp, .to = to, .rowSums = p.dbias},
                          !p.weightTransposed);
}

}  // namespace

bool linearForwardBf16(ThreadPool& pool, const LinearForwardArguments& p) {
  const Epilogue to = {.c = p.out,
                       .ldc = p.oc,
                       .bias = p.bias,
                       .activation = p.activation,
                       .preActivation = p.preActivation,
                       .residual = p.residual,
                       .dropout = p.dropout,
                       .sampleRows = p.sampleRows};
  return gemmBf16(pool, {.m = p.n,
                         .n = p.oc,
                         .k = p.ic,
                         .a = rowsOf(p.inp, p.ic),
                         .b = byOutput(p.weight, p.ic, p.oc, p.weightTransposed),
                         .to = to});
}

bool linearBackwardBf16(ThreadPool& pool, const LinearBackwardArguments& p) {
  // dinp [N, IC] = dout [N, OC] · weightᵀ
  if (p.dinp.data != nullptr) {
    const Epilogue to = {.c = p.dinp,
                         .ldc = p.ic,
                         .activation = p.dinpActivation,
                         .preActivation = p.dinpPreActivation,
                         .slope = true,
                         .accumulate = p.accumulate};
    if (!gemmBf16(pool, {.m = p.n,
                         .n = p.ic,
                         .k = p.oc,
                         .a = rowsOf(p.dout, p.oc),
                         .b = byInput(p.weight, p.ic, p.oc, p.weightTransposed),
                         .to = to})) {
      return false;
    }
  }
  if (p.dweight != nullptr) return addWeightGradient(pool, p);
  if (p.dbias != nullptr) addColumnSums(pool, p.dout, p.n, p.oc, p.dbias);
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
