// AdamW with decoupled weight decay, in PyTorch's order: decay first, then the step.
#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {

bool adamw(ThreadPool& pool, const AdamwArguments& p) {
  const Vec gradScale = splat(p.gradScale), beta1 = splat(p.beta1), beta2 = splat(p.beta2);
  const Vec rest1 = splat(1 - p.beta1), rest2 = splat(1 - p.beta2);
  const Vec decay = splat(p.decay), step = splat(p.stepSize), correction = splat(p.inverseSqrtBiasCorrection2);
  const Vec eps = splat(p.eps);
  parallelRanges(pool, p.size, 8192, 64, [&](Index begin, Index end, int) {
    forVectors(end - begin, [&](Index offset, int count) {
      const Index i = begin + offset;
      const Vec g = loadAny(p.grad + i, count) * gradScale;
      const Vec m = fma(beta1, loadAny(p.m + i, count), rest1 * g);
      const Vec v = fma(beta2, loadAny(p.v + i, count), rest2 * g * g);
      storeAny(p.m + i, m, count);
      storeAny(p.v + i, v, count);
      const Vec update = m / fma(sqrt(v), correction, eps);
      storeAny(p.param + i, loadAny(p.param + i, count) * decay - step * update, count);
    });
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
