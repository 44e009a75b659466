// Softmax and cross-entropy of each row in one pass over the logits for the maximum and one for the sum.
#include <math.h>

#include "math.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

float maximumOf(const float* x, Index size) {
  Vec most = splat(x[0]);
  forVectors(size, [&](Index i, int count) {
    const Vec v = loadAny(x + i, count);
    most = max(most, count == W ? v : firstLanes(v, count, most));
  });
  return maxLane(most);
}

// The sum of e^(x - maximum); the terms go to `terms` too, unless it is null.
float sumOfExponentials(const float* x, Index size, float maximum, float* terms) {
  Vec sum = {};
  forVectors(size, [&](Index i, int count) {
    const Vec e = exp(loadAny(x + i, count) - splat(maximum));
    if (terms != nullptr) storeAny(terms + i, e, count);
    sum += count == W ? e : firstLanes(e, count, Vec{});
  });
  return sumLanes(sum);
}

}  // namespace

bool crossEntropy(ThreadPool& pool, const CrossEntropyArguments& p) {
  parallelRanges(pool, p.n, 1 + 8192 / (p.v + 1), 1, [&](Index begin, Index end, int) {
    for (Index row = begin; row < end; row++) {
      const float* logits = p.logits + row * p.v;
      float* dlogits = p.dlogits == nullptr ? nullptr : p.dlogits + row * p.v;
      const int32_t target = p.targets[row];
      if (target < 0) {
        p.losses[row] = 0;
        if (dlogits != nullptr) __builtin_memset(dlogits, 0, size_t(p.v) * sizeof(float));
        continue;
      }
      const float maximum = maximumOf(logits, p.v);
      const float targetLogit = logits[target];
      const float sum = sumOfExponentials(logits, p.v, maximum, dlogits);
      p.losses[row] = float(::log(double(sum)) + double(maximum) - double(targetLogit));
      if (dlogits == nullptr) continue;
      const float scale = p.weights == nullptr ? p.scale : p.scale * p.weights[row];
      const Vec factor = splat(scale / sum);
      forVectors(p.v, [&](Index i, int count) { storeAny(dlogits + i, loadAny(dlogits + i, count) * factor, count); });
      dlogits[target] -= scale;
    }
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
