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

}  // namespace

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
