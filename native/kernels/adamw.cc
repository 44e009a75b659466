// AdamW with decoupled weight decay, in PyTorch's order: decay first, then the step, then the average. One pass over four or five
// blocks, at the speed of memory.
#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// Prefetch distance of each block: its streams cross pages too often for the hardware to keep up.
constexpr Index ahead = 512;

struct Update {
  const AdamwArguments& p;

  // Elements [begin, end), all of `tensor`.
  void apply(Index begin, Index end, const AdamwTensor& tensor) const {
    const Vec gradScale = splat(p.gradScale), beta1 = splat(p.beta1), beta2 = splat(p.beta2);
    const Vec rest1 = splat(p.rest1), rest2 = splat(p.rest2);
    const Vec decay = splat(tensor.decay), step = splat(p.stepSize);
    float* const secondMoments = p.v + (tensor.v - tensor.start);
    const float* blocks[] = {p.params, p.grads, p.m, secondMoments, p.average};
    const Vec averageWeight = splat(p.averageWeight), averageRest = splat(p.averageRest);
    const Vec correction = splat(p.inverseSqrtBiasCorrection2), eps = splat(p.eps);
    forVectors(end - begin, [&](Index offset, int count) {
      const Index i = begin + offset;
      for (const float* block : blocks) {
        if (block != nullptr) __builtin_prefetch(block + i + ahead, 1);
      }
      const Vec g = loadAny(p.grads + i, count) * gradScale;
      const Vec m = fma(beta1, loadAny(p.m + i, count), rest1 * g);
      const Vec v = fma(beta2, loadAny(secondMoments + i, count), rest2 * g * g);
      storeAny(p.m + i, m, count);
      storeAny(secondMoments + i, v, count);
      const Vec update = m / fma(sqrt(v), correction, eps);
      // Explicitly fused, not by the compiler's choice: replicas built by different compilers must be bit-for-bit identical.
      const Vec param = fma(loadAny(p.params + i, count), decay, -(step * update));
      storeAny(p.params + i, param, count);
      if (p.average != nullptr) {
        storeAny(p.average + i, fma(averageRest, loadAny(p.average + i, count), averageWeight * param), count);
      }
      if (p.zeroGrads) storeAny(p.grads + i, Vec{}, count);
    });
  }
};

}  // namespace

bool adamw(ThreadPool& pool, const AdamwArguments& p) {
  const Update update = {p};
  parallelRanges(pool, p.size, 8192, 64, [&](Index begin, Index end, int) {
    for (Index i = 0; i < p.count; i++) {
      const AdamwTensor& tensor = p.tensors[i];
      const Index from = tensor.start > begin ? tensor.start : begin;
      const Index to = tensor.end < end ? tensor.end : end;
      if (from < to) update.apply(from, to, tensor);
    }
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
