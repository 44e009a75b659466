// The head and its loss: computes the logits of some rows, their softmax and gradients, while they are in the cache.
#include "kernels.h"

namespace lockstep::LOCKSTEP_ISA {

bool linearForward(ThreadPool&, const LinearForwardArguments&);
bool linearBackward(ThreadPool&, const LinearBackwardArguments&);
bool crossEntropy(ThreadPool&, const CrossEntropyArguments&);

namespace {

FloatArray rowsFrom(FloatArray matrix, Index row, Index columns) {
  return {static_cast<char*>(matrix.data) + row * columns * Index(matrix.bfloat16 ? sizeof(uint16_t) : sizeof(float)),
          matrix.bfloat16};
}

}  // namespace

bool linearCrossEntropy(ThreadPool& pool, const LinearCrossEntropyArguments& p) {
  LinearForwardArguments head = {};
  head.ic = p.ic;
  head.oc = p.v;
  head.weightTransposed = p.weightTransposed;
  head.out.data = p.logits;
  head.weight = p.weight;
  CrossEntropyArguments loss = {};
  loss.v = p.v;
  loss.logits = p.logits;
  loss.scale = p.scale;
  loss.dlogits = p.dinp.data == nullptr && p.dweight == nullptr ? nullptr : p.logits;
  LinearBackwardArguments gradients = {};
  gradients.ic = p.ic;
  gradients.oc = p.v;
  gradients.weightTransposed = p.weightTransposed;
  gradients.dweight = p.dweight;
  gradients.dout.data = p.logits;
  gradients.weight = p.weight;
  for (Index row = 0; row < p.n; row += p.rows) {
    head.n = loss.n = gradients.n = p.rows < p.n - row ? p.rows : p.n - row;
    head.inp = gradients.inp = rowsFrom(p.inp, row, p.ic);
    if (!linearForward(pool, head)) return false;
    loss.losses = p.losses + row;
    loss.targets = p.targets + row;
    if (p.weights != nullptr) loss.weights = p.weights + row;
    if (!crossEntropy(pool, loss)) return false;
    if (loss.dlogits == nullptr) continue;
    if (p.dinp.data != nullptr) gradients.dinp = rowsFrom(p.dinp, row, p.ic);
    if (!linearBackward(pool, gradients)) return false;
  }
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
