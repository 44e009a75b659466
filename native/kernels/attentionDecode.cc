// Attention of one new token to the keys and values of one sequence.
#include "math.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

float dot(const float* a, const float* b, Index size) {
  Vec sum = {};
  forVectors(size, [&](Index i, int count) { sum = fma(loadAny(a + i, count), loadAny(b + i, count), sum); });
  return sumLanes(sum);
}

}  // namespace

bool attentionDecode(ThreadPool& pool, const AttentionDecodeArguments& p) {
  const Index hs = p.c / p.nHead;
  const Index length = p.position + 1;
  float* scratch = pool.scratch(size_t(p.nHead * length));
  if (scratch == nullptr) return false;
  __builtin_memcpy(p.keys + p.position * p.c, p.qkv + p.c, size_t(p.c) * sizeof(float));
  __builtin_memcpy(p.values + p.position * p.c, p.qkv + 2 * p.c, size_t(p.c) * sizeof(float));
  const float scale = 1.0f / __builtin_sqrtf(float(hs));
  parallelRanges(pool, p.nHead, 1 + 32768 / (length * hs), 1, [&](Index begin, Index end, int) {
    for (Index h = begin; h < end; h++) {
      float* weights = scratch + h * length;
      float most = -__builtin_inff();
      for (Index j = 0; j < length; j++) {
        weights[j] = dot(p.qkv + h * hs, p.keys + j * p.c + h * hs, hs) * scale;
        most = weights[j] > most ? weights[j] : most;
      }
      Vec sums = {};
      forVectors(length, [&](Index j, int count) {
        const Vec e = exp(loadAny(weights + j, count) - splat(most));
        storeAny(weights + j, e, count);
        sums += count == W ? e : firstLanes(e, count, Vec{});
      });
      const Vec factor = splat(1.0f / sumLanes(sums));
      forVectors(hs, [&](Index i, int count) {
        Vec out = {};
        const float* value = p.values + h * hs + i;
        for (Index j = 0; j < length; j++) out = fma(splat(weights[j]), loadAny(value + j * p.c, count), out);
        storeAny(p.out + h * hs + i, out * factor, count);
      });
    }
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
