// Sums, zeros and dropout, element by element.
#include "dropout.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {
constexpr Index grain = 16384;
}

void addInto(float* dst, const float* src, Index size) {
  forVectors(size, [&](Index i, int count) { storeAny(dst + i, loadAny(dst + i, count) + loadAny(src + i, count), count); });
}

namespace {

template <class T>
void addOf(ThreadPool& pool, T* out, const T* a, const T* b, Index size) {
  parallelRanges(pool, size, grain, 64, [&](Index begin, Index end, int) {
    forVectors(end - begin, [&](Index offset, int count) {
      const Index i = begin + offset;
      storeAny(out + i, loadAny(a + i, count) + loadAny(b + i, count), count);
    });
  });
}

template <class T>
void addOf(ThreadPool& pool, FloatArray out, FloatArray a, FloatArray b, Index size) {
  addOf(pool, static_cast<T*>(out.data), static_cast<const T*>(a.data), static_cast<const T*>(b.data), size);
}

}  // namespace

bool add(ThreadPool& pool, FloatArray out, FloatArray a, FloatArray b, Index size) {
  if (out.bfloat16) addOf<uint16_t>(pool, out, a, b, size);
  else addOf<float>(pool, out, a, b, size);
  return true;
}

bool copy(ThreadPool& pool, FloatArray out, FloatArray inp, Index size) {
  const Index bytes = size * Index(out.bfloat16 ? sizeof(uint16_t) : sizeof(float));
  parallelRanges(pool, bytes, 16 * grain, 64, [&](Index begin, Index end, int) {
    __builtin_memcpy(static_cast<char*>(out.data) + begin, static_cast<const char*>(inp.data) + begin, size_t(end - begin));
  });
  return true;
}

bool zero(ThreadPool& pool, float* data, Index size) {
  parallelRanges(pool, size, 4 * grain, 64, [&](Index begin, Index end, int) {
    __builtin_memset(data + begin, 0, size_t(end - begin) * sizeof(float));
  });
  return true;
}

namespace {

template <class Out, class In>
void dropoutOf(ThreadPool& pool, const DropoutForwardArguments& p) {
  Out* out = static_cast<Out*>(p.out.data);
  const In* inp = static_cast<const In*>(p.inp.data);
  parallelRanges(pool, p.b * p.sampleSize, grain, 64, [&](Index begin, Index end, int) {
    // A range may cover the end of one sample and the start of the next.
    while (begin < end) {
      const Index sample = begin / p.sampleSize;
      const Index sampleStart = sample * p.sampleSize;
      const Index stop = end < sampleStart + p.sampleSize ? end : sampleStart + p.sampleSize;
      forVectors(stop - begin, [&](Index offset, int count) {
        const Index i = begin + offset;
        storeAny(out + i, loadAny(inp + i, count) * dropoutFactors(p.dropout, sample, i - sampleStart), count);
      });
      begin = stop;
    }
  });
}

template <class Out>
void dropoutTo(ThreadPool& pool, const DropoutForwardArguments& p) {
  if (p.inp.bfloat16) dropoutOf<Out, uint16_t>(pool, p);
  else dropoutOf<Out, float>(pool, p);
}

}  // namespace

bool dropout(ThreadPool& pool, const DropoutForwardArguments& p) {
  if (p.out.bfloat16) dropoutTo<uint16_t>(pool, p);
  else dropoutTo<float>(pool, p);
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
