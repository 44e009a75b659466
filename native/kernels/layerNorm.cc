// Layer norm over the last dimension. dweight and dbias are summed over pieces of rows that depend only on the size, then over
// the pieces in order, so they are the same for any number of threads.
#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index grainElements = 8192;
constexpr Index piecesMost = 32;

inline Index rowGrain(Index c) { return c >= grainElements ? 1 : grainElements / c; }

float sumOf(const float* x, Index c) {
  Vec sum = {};
  forVectors(c, [&](Index i, int count) { sum += loadAny(x + i, count); });
  return sumLanes(sum);
}

float sumOfSquaredDeviations(const float* x, Index c, float mean) {
  Vec sum = {};
  forVectors(c, [&](Index i, int count) {
    // The unused lanes must not count as deviations.
    const Vec d = loadAny(x + i, count) - splat(mean);
    const Vec own = count == W ? d : firstLanes(d, count, Vec{});
    sum = fma(own, own, sum);
  });
  return sumLanes(sum);
}

template <class Out>
void normalise(const LayerNormForwardArguments& p, Index row) {
  const float* inp = p.inp + row * p.c;
  Out* out = static_cast<Out*>(p.out.data) + row * p.c;
  const float mean = sumOf(inp, p.c) / float(p.c);
  const float variance = sumOfSquaredDeviations(inp, p.c, mean) / float(p.c);
  const float rstd = 1.0f / __builtin_sqrtf(variance + p.eps);
  p.mean[row] = mean;
  p.rstd[row] = rstd;
  forVectors(p.c, [&](Index i, int count) {
    const Vec norm = (loadAny(inp + i, count) - splat(mean)) * splat(rstd);
    const Vec bias = p.bias != nullptr ? loadAny(p.bias + i, count) : Vec{};
    storeAny(out + i, fma(norm, loadAny(p.weight + i, count), bias), count);
  });
}

// The gradients of one row: `sums` (dweight, then dbias, C each) is added to unless it is null.
template <class Dout>
struct RowGradient {
  const LayerNormBackwardArguments& p;
  float* sums;

  void add(Index row) const {
    const Dout* dout = static_cast<const Dout*>(p.dout.data) + row * p.c;
    const float* inp = p.inp + row * p.c;
    const Vec mean = splat(p.mean[row]);
    const Vec rstd = splat(p.rstd[row]);
    if (sums == nullptr) {
      const auto [sumD, sumDNorm] = pass<false>(dout, inp, mean, rstd);
      assign(row, dout, inp, mean, rstd, sumD, sumDNorm);
    } else {
      const auto [sumD, sumDNorm] = pass<true>(dout, inp, mean, rstd);
      if (p.dinp != nullptr) assign(row, dout, inp, mean, rstd, sumD, sumDNorm);
    }
  }

 private:
  struct Sums {
    Vec d, dNorm;
  };

  template <bool ofParameters>
  Sums pass(const Dout* dout, const float* inp, Vec mean, Vec rstd) const {
    float* dweight = sums;
    float* dbias = ofParameters ? sums + p.c : nullptr;
    Vec sumD = {}, sumDNorm = {};
    forVectors(p.c, [&](Index i, int count) {
      const Vec d = loadAny(dout + i, count);
      const Vec norm = (loadAny(inp + i, count) - mean) * rstd;
      const Vec dNorm = d * loadAny(p.weight + i, count);  // 0 in unused lanes
      sumD += dNorm;
      sumDNorm = fma(dNorm, norm, sumDNorm);
      if constexpr (ofParameters) {
        storeAny(dweight + i, fma(d, norm, loadAny(dweight + i, count)), count);
        storeAny(dbias + i, loadAny(dbias + i, count) + d, count);
      }
    });
    return {sumD, sumDNorm};
  }

  void assign(Index row, const Dout* dout, const float* inp, Vec mean, Vec rstd, Vec sumD, Vec sumDNorm) const {
    float* dinp = p.dinp + row * p.c;
    const Vec meanD = splat(sumLanes(sumD) / float(p.c));
    const Vec meanDNorm = splat(sumLanes(sumDNorm) / float(p.c));
    forVectors(p.c, [&](Index i, int count) {
      const Vec norm = (loadAny(inp + i, count) - mean) * rstd;
      Vec x = (loadAny(dout + i, count) * loadAny(p.weight + i, count) - meanD - norm * meanDNorm) * rstd;
      if (p.accumulate) x += loadAny(dinp + i, count);
      storeAny(dinp + i, x, count);
    });
  }
};

}  // namespace

bool layerNormForward(ThreadPool& pool, const LayerNormForwardArguments& p) {
  parallelRanges(pool, p.n, rowGrain(p.c), 1, [&](Index begin, Index end, int) {
    for (Index row = begin; row < end; row++) {
      if (p.out.bfloat16) normalise<uint16_t>(p, row);
      else normalise<float>(p, row);
    }
  });
  return true;
}

bool layerNormBackward(ThreadPool& pool, const LayerNormBackwardArguments& p) {
  Index pieces = p.n / rowGrain(p.c);
  pieces = pieces < 1 ? 1 : pieces > piecesMost ? piecesMost : pieces;
  const Index rows = ceilDiv(p.n, pieces);
  const bool ofParameters = p.dweight != nullptr || p.dbias != nullptr;
  float* partial = ofParameters ? pool.scratch(size_t(pieces * 2 * p.c)) : nullptr;  // [pieces][2][C]
  if (ofParameters && partial == nullptr) return false;
  parallelTasks(pool, pieces, [&](Index piece, int) {
    float* sums = ofParameters ? partial + piece * 2 * p.c : nullptr;
    if (ofParameters) __builtin_memset(sums, 0, size_t(2 * p.c) * sizeof(float));
    const Index begin = piece * rows;
    const Index end = begin + rows < p.n ? begin + rows : p.n;
    for (Index row = begin; row < end; row++) {
      if (p.dout.bfloat16) RowGradient<uint16_t>{p, sums}.add(row);
      else RowGradient<float>{p, sums}.add(row);
    }
  });
  if (!ofParameters) return true;
  parallelRanges(pool, p.c, 512, 64, [&](Index begin, Index end, int) {
    forVectors(end - begin, [&](Index offset, int count) {
      const Index i = begin + offset;
      Vec dweight = {}, dbias = {};
      for (Index piece = 0; piece < pieces; piece++) {
        dweight += loadAny(partial + piece * 2 * p.c + i, count);
        dbias += loadAny(partial + (piece * 2 + 1) * p.c + i, count);
      }
      if (p.dweight != nullptr) storeAny(p.dweight + i, loadAny(p.dweight + i, count) + dweight, count);
      if (p.dbias != nullptr) storeAny(p.dbias + i, loadAny(p.dbias + i, count) + dbias, count);
    });
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
