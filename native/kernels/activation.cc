// GELU in its tanh form, and ReLU. With u = √(2/π) · (x + 0.044715 x³): ½ x (1 + tanh u) = x · sigmoid(2u).
#include "math.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index grain = 8192;
constexpr float twiceRoot = 1.5957691216057308f;  // 2 · √(2/π)
constexpr float cubic = 0.044715f;

inline Vec gelu(Vec x) {
  const Vec u2 = splat(twiceRoot) * x * fma(x * x, splat(cubic), splat(1.0f));
  return x * sigmoid(u2);
}

// Beyond ±16 the slope is 0 or 1 in float32; held there, since x⁴ overflows before x does. Not a number stays so.
inline Vec geluSlope(Vec input) {
  const Vec x = min(splat(16.0f), max(splat(-16.0f), input));
  const Vec xx = x * x;
  const Vec u2 = splat(twiceRoot) * x * fma(xx, splat(cubic), splat(1.0f));
  const Vec du2 = splat(twiceRoot) * fma(xx, splat(3 * cubic), splat(1.0f));
  const Vec s = sigmoid(u2);
  return s + x * s * (splat(1.0f) - s) * du2;
}

}  // namespace

bool activationForward(ThreadPool& pool, const ActivationArguments& p) {
  parallelRanges(pool, p.size, grain, 64, [&](Index begin, Index end, int) {
    const float* inp = p.inp + begin;
    float* out = p.out + begin;
    if (p.relu) {
      forVectors(end - begin, [&](Index i, int count) { storeAny(out + i, max(Vec{}, loadAny(inp + i, count)), count); });
    } else {
      forVectors(end - begin, [&](Index i, int count) { storeAny(out + i, gelu(loadAny(inp + i, count)), count); });
    }
  });
  return true;
}

bool activationBackward(ThreadPool& pool, const ActivationArguments& p) {
  parallelRanges(pool, p.size, grain, 64, [&](Index begin, Index end, int) {
    const float* inp = p.inp + begin;
    const float* dout = p.dout + begin;
    float* dinp = p.out + begin;
    if (p.relu) {
      forVectors(end - begin, [&](Index i, int count) {
        const Vec d = loadAny(dout + i, count);
        storeAny(dinp + i, loadAny(inp + i, count) > Vec{} ? d : Vec{}, count);
      });
    } else {
      forVectors(end - begin, [&](Index i, int count) {
        storeAny(dinp + i, loadAny(dout + i, count) * geluSlope(loadAny(inp + i, count)), count);
      });
    }
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
