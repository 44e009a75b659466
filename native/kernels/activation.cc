// Activations on their own, element by element.
#include "activations.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {
constexpr Index grain = 8192;
}

bool activationForward(ThreadPool& pool, const ActivationArguments& p) {
  parallelRanges(pool, p.size, grain, 64, [&](Index begin, Index end, int) {
    const float* inp = p.inp + begin;
    float* out = p.out + begin;
    withActivation(p.kind, [&]<class Act>(Act) {
      forVectors(end - begin, [&](Index i, int count) { storeAny(out + i, Act::forward(loadAny(inp + i, count)), count); });
    });
  });
  return true;
}

bool activationBackward(ThreadPool& pool, const ActivationArguments& p) {
  parallelRanges(pool, p.size, grain, 64, [&](Index begin, Index end, int) {
    const float* inp = p.inp + begin;
    const float* dout = p.dout + begin;
    float* dinp = p.out + begin;
    withActivation(p.kind, [&]<class Act>(Act) {
      forVectors(end - begin, [&](Index i, int count) {
        storeAny(dinp + i, Act::timesSlope(loadAny(dout + i, count), loadAny(inp + i, count)), count);
      });
    });
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
