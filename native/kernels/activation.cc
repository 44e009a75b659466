// Separate activations, element by element.
#include "activations.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index grain = 8192;

template <class T>
void forward(ThreadPool& pool, const ActivationArguments& p) {
  parallelRanges(pool, p.size, grain, 64, [&](Index begin, Index end, int) {
    const T* inp = static_cast<const T*>(p.inp.data) + begin;
    T* out = static_cast<T*>(p.out.data) + begin;
    withActivation(p.kind, [&]<class Act>(Act) {
      forVectors(end - begin, [&](Index i, int count) { storeAny(out + i, Act::forward(loadAny(inp + i, count)), count); });
    });
  });
}

template <class T>
void backward(ThreadPool& pool, const ActivationArguments& p) {
  parallelRanges(pool, p.size, grain, 64, [&](Index begin, Index end, int) {
    const T* inp = static_cast<const T*>(p.inp.data) + begin;
    const T* dout = static_cast<const T*>(p.dout.data) + begin;
    T* dinp = static_cast<T*>(p.out.data) + begin;
    withActivation(p.kind, [&]<class Act>(Act) {
      forVectors(end - begin, [&](Index i, int count) {
        storeAny(dinp + i, Act::timesSlope(loadAny(dout + i, count), loadAny(inp + i, count)), count);
      });
    });
  });
}

// body(begin, end, columns): pieces of at most this many columns of the rows [begin, end), so that few rows are divided too.
constexpr Index gatedColumns = 4096;

template <class Body>
void gatedRanges(ThreadPool& pool, const GatedActivationArguments& p, Body body) {
  const Index pieces = ceilDiv(p.inner, gatedColumns);
  const Index grainRows = 1 + grain / (p.inner < gatedColumns ? p.inner : gatedColumns);
  parallelRanges(pool, p.n * pieces, grainRows, 1, [&](Index begin, Index end, int) {
    for (Index i = begin; i < end; i++) {
      const Index column = i % pieces * gatedColumns;
      body(i / pieces, column, p.inner - column < gatedColumns ? p.inner - column : gatedColumns);
    }
  });
}

template <class T>
void gatedForward(ThreadPool& pool, const GatedActivationArguments& p) {
  withActivation(p.kind, [&]<class Act>(Act) {
    gatedRanges(pool, p, [&](Index row, Index column, Index columns) {
      const T* gate = static_cast<const T*>(p.inp.data) + 2 * row * p.inner + column;
      const T* up = gate + p.inner;
      T* out = static_cast<T*>(p.out.data) + row * p.inner + column;
      forVectors(columns, [&](Index i, int count) {
        storeAny(out + i, Act::forward(loadAny(gate + i, count)) * loadAny(up + i, count), count);
      });
    });
  });
}

template <class T>
void gatedBackward(ThreadPool& pool, const GatedActivationArguments& p) {
  withActivation(p.kind, [&]<class Act>(Act) {
    gatedRanges(pool, p, [&](Index row, Index column, Index columns) {
      const T* gate = static_cast<const T*>(p.inp.data) + 2 * row * p.inner + column;
      const T* up = gate + p.inner;
      const T* dout = static_cast<const T*>(p.dout.data) + row * p.inner + column;
      T* dgate = static_cast<T*>(p.out.data) + 2 * row * p.inner + column;
      T* dup = dgate + p.inner;
      forVectors(columns, [&](Index i, int count) {
        const Vec x = loadAny(gate + i, count), u = loadAny(up + i, count), d = loadAny(dout + i, count);
        const auto [value, slope] = Act::valueAndSlope(x);
        storeAny(dgate + i, d * u * slope, count);
        storeAny(dup + i, d * value, count);
      });
    });
  });
}

}  // namespace

bool gatedActivationForward(ThreadPool& pool, const GatedActivationArguments& p) {
  if (p.inp.bfloat16) gatedForward<uint16_t>(pool, p);
  else gatedForward<float>(pool, p);
  return true;
}

bool gatedActivationBackward(ThreadPool& pool, const GatedActivationArguments& p) {
  if (p.inp.bfloat16) gatedBackward<uint16_t>(pool, p);
  else gatedBackward<float>(pool, p);
  return true;
}

bool activationForward(ThreadPool& pool, const ActivationArguments& p) {
  if (p.inp.bfloat16) forward<uint16_t>(pool, p);
  else forward<float>(pool, p);
  return true;
}

bool activationBackward(ThreadPool& pool, const ActivationArguments& p) {
  if (p.inp.bfloat16) backward<uint16_t>(pool, p);
  else backward<float>(pool, p);
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
