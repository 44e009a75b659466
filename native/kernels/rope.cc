// Rotary position embedding: numbers i and i + HS/2 of a head are rotated by the angle of the row's position.
#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index grainElements = 16384;

template <bool inverse, class T>
void rotateRow(const RopeArguments& p, Index row) {
  const Index sequence = row / p.t;
  const Index first = p.positions == nullptr ? 0 : Index(p.positions[sequence]);
  const Index position = first + row % p.t - (p.starts == nullptr ? 0 : Index(p.starts[row]));
  const Index half = p.headSize / 2;
  const float* cosines = p.table + position * p.headSize;
  const float* sines = cosines + half;
  const T* inp = static_cast<const T*>(p.inp.data) + row * p.width;
  T* out = static_cast<T*>(p.out.data) + row * p.width;
  for (Index head = 0; head < p.heads; head++, inp += p.headSize, out += p.headSize) {
    forVectors(half, [&](Index i, int count) {
      const Vec a = loadAny(inp + i, count), b = loadAny(inp + half + i, count);
      const Vec cosine = loadAny(cosines + i, count);
      const Vec sine = inverse ? -loadAny(sines + i, count) : loadAny(sines + i, count);
      storeAny(out + i, fma(a, cosine, -(b * sine)), count);
      storeAny(out + half + i, fma(b, cosine, a * sine), count);
    });
  }
  if (out != inp) __builtin_memcpy(out, inp, size_t(p.width - p.heads * p.headSize) * sizeof(T));
}

template <class T>
void rotate(ThreadPool& pool, const RopeArguments& p) {
  const Index grain = p.width >= grainElements ? 1 : grainElements / p.width;
  parallelRanges(pool, p.b * p.t, grain, 1, [&](Index begin, Index end, int) {
    for (Index row = begin; row < end; row++) {
      if (p.inverse) rotateRow<true, T>(p, row);
      else rotateRow<false, T>(p, row);
    }
  });
}

}  // namespace

bool rope(ThreadPool& pool, const RopeArguments& p) {
  if (p.inp.bfloat16) rotate<uint16_t>(pool, p);
  else rotate<float>(pool, p);
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
