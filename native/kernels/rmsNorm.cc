// Root-mean-square norm over the last dimension. dweight is summed over pieces of rows that depend only on the size, then over the
// pieces in order, so it is the same for any number of threads.
#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index grainElements = 8192;
constexpr Index piecesMost = 32;

inline Index rowGrain(Index c) { return c >= grainElements ? 1 : grainElements / c; }

// Several sums at once: one would wait for each addition.
float sumOfSquares(const float* x, Index c) {
  Vec sums[4] = {};
  Index i = 0;
  for (; i + 4 * W <= c; i += 4 * W) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      const Vec v = load(x + i + k * W);
      sums[k] = fma(v, v, sums[k]);
    }
  }
  forVectors(c - i, [&](Index offset, int count) {
    const Vec v = loadAny(x + i + offset, count);
    sums[0] = fma(v, v, sums[0]);
  });
  return sumLanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <class Out>
void normalise(const RmsNormForwardArguments& p, Index row) {
  const float* inp = p.inp + row * p.c;
  Out* out = static_cast<Out*>(p.out.data) + row * p.c;
  const float rstd = 1.0f / __builtin_sqrtf(sumOfSquares(inp, p.c) / float(p.c) + p.eps);
  p.rstd[row] = rstd;
  forVectors(p.c, [&](Index i, int count) {
    storeAny(out + i, loadAny(inp + i, count) * splat(rstd) * loadAny(p.weight + i, count), count);
  });
}

// The gradients of one row. dweight [C] is added to if it is wanted.
template <bool ofWeight, class Dout>
void addGradient(const RmsNormBackwardArguments& p, Index row, float* dweight) {
  const Dout* dout = static_cast<const Dout*>(p.dout.data) + row * p.c;
  const float* inp = p.inp + row * p.c;
  const Vec rstd = splat(p.rstd[row]);
  Vec sum = {};
  forVectors(p.c, [&](Index i, int count) {
    const Vec d = loadAny(dout + i, count);
    const Vec dNorm = d * (loadAny(inp + i, count) * rstd);  // 0 in unused lanes
    sum = fma(dNorm, loadAny(p.weight + i, count), sum);
    if constexpr (ofWeight) storeAny(dweight + i, loadAny(dweight + i, count) + dNorm, count);
  });
  if (p.dinp == nullptr) return;
  float* dinp = p.dinp + row * p.c;
  const Vec along = splat(sumLanes(sum) / float(p.c)) * rstd;
  forVectors(p.c, [&](Index i, int count) {
    Vec x = (loadAny(dout + i, count) * loadAny(p.weight + i, count) - loadAny(inp + i, count) * along) * rstd;
    if (p.accumulate) x += loadAny(dinp + i, count);
    storeAny(dinp + i, x, count);
  });
}

}  // namespace

bool rmsNormForward(ThreadPool& pool, const RmsNormForwardArguments& p) {
  parallelRanges(pool, p.n, rowGrain(p.c), 1, [&](Index begin, Index end, int) {
    for (Index row = begin; row < end; row++) {
      if (p.out.bfloat16) normalise<uint16_t>(p, row);
      else normalise<float>(p, row);
    }
  });
  return true;
}

bool rmsNormBackward(ThreadPool& pool, const RmsNormBackwardArguments& p) {
  Index pieces = p.n / rowGrain(p.c);
  pieces = pieces < 1 ? 1 : pieces > piecesMost ? piecesMost : pieces;
  const Index rows = ceilDiv(p.n, pieces);
  float* partial = p.dweight != nullptr ? pool.scratch(size_t(pieces * p.c)) : nullptr;  // [pieces][C]
  if (p.dweight != nullptr && partial == nullptr) return false;
  parallelTasks(pool, pieces, [&](Index piece, int) {
    float* sums = partial != nullptr ? partial + piece * p.c : nullptr;
    if (sums != nullptr) __builtin_memset(sums, 0, size_t(p.c) * sizeof(float));
    const Index begin = piece * rows;
    const Index end = begin + rows < p.n ? begin + rows : p.n;
    const auto addRows = [&]<class Dout>(Dout) {
      for (Index row = begin; row < end; row++) {
        if (sums != nullptr) addGradient<true, Dout>(p, row, sums);
        else addGradient<false, Dout>(p, row, nullptr);
      }
    };
    if (p.dout.bfloat16) addRows(uint16_t{});
    else addRows(float{});
  });
  if (partial == nullptr) return true;
  parallelRanges(pool, p.c, 512, 64, [&](Index begin, Index end, int) {
    forVectors(end - begin, [&](Index offset, int count) {
      const Index i = begin + offset;
      Vec sum = {};
      for (Index piece = 0; piece < pieces; piece++) sum += loadAny(partial + piece * p.c + i, count);
      storeAny(p.dweight + i, loadAny(p.dweight + i, count) + sum, count);
    });
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
