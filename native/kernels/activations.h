// The activations: each a type with forward(x) = act(x), timesSlope(d, x) = d · act'(x), and valueAndSlope(x), which computes both with one
// exponential. Their list is in ../activations.h.
#pragma once

#include "math.h"

namespace lockstep::LOCKSTEP_ISA {

// GELU in its tanh form. With u = √(2/π) · (x + 0.044715 x³): ½ x (1 + tanh u) = x · sigmoid(2u) = x / (1 + 2^t), t = -2u / ln 2.
// Error below 6e-7 for x in [-12, 12]. NaN stays NaN.
constexpr float geluCubic = 0.044715f;
constexpr float geluTwiceRoot = 1.5957691216057308f;  // 2 · √(2/π)
constexpr float geluExponent = -2.302208198f;         // -2 · √(2/π) / ln 2

// x / (1 + 2^t). exp2 has no infinity, so t is limited to 126. x is limited where the result is below 2^-112, instead of being x / 2^126.
static inline Vec overOnePlusPower(Vec x, Vec t) {
  return max(splat(-16384.0f), x) / (splat(1.0f) + exp2(min(splat(126.0f), t)));
}

static inline Vec geluPower(Vec x, Vec xx) { return x * fma(xx, splat(geluExponent * geluCubic), splat(geluExponent)); }

static inline Vec gelu(Vec x) { return overOnePlusPower(x, geluPower(x, x * x)); }

// s + x · s (1 - s) · (2u)', s = sigmoid(2u); within 2.1e-6. Beyond ±10 it is 0 or 1 in float32; x is clamped there, because x⁴ overflows
// before x does. NaN stays NaN.
static inline Vec geluSlope(Vec input) {
  const Vec x = min(splat(10.0f), max(splat(-10.0f), input));
  const Vec xx = x * x;
  const Vec s = splat(1.0f) / (splat(1.0f) + exp2(geluPower(x, xx)));
  const Vec du2 = fma(xx, splat(3 * geluTwiceRoot * geluCubic), splat(geluTwiceRoot));
  return fma(s - s * s, x * du2, s);
}

struct ValueAndSlope {
  Vec value, slope;
};

struct Gelu {
  static inline Vec forward(Vec x) { return gelu(x); }
  static inline Vec timesSlope(Vec d, Vec x) { return d * geluSlope(x); }
  static inline ValueAndSlope valueAndSlope(Vec input) {
    const Vec x = min(splat(10.0f), max(splat(-10.0f), input));
    const Vec xx = x * x;
    const Vec s = splat(1.0f) / (splat(1.0f) + exp2(geluPower(x, xx)));
    const Vec du2 = fma(xx, splat(3 * geluTwiceRoot * geluCubic), splat(geluTwiceRoot));
    return {max(splat(-16384.0f), input) * s, fma(s - s * s, x * du2, s)};
  }
};

struct Relu {
  static inline Vec forward(Vec x) { return max(Vec{}, x); }
  static inline Vec timesSlope(Vec d, Vec x) { return x > Vec{} ? d : Vec{}; }
  static inline ValueAndSlope valueAndSlope(Vec x) { return {forward(x), timesSlope(splat(1.0f), x)}; }
};

// x · sigmoid(x) = x / (1 + 2^t), t = -x / ln 2, and sigmoid(x) · (1 + x · (1 - sigmoid(x))). Beyond ±80 the slope is 0 or 1 in
// float32; x is clamped there. NaN stays NaN.
struct Silu {
  static constexpr float exponent = -1.442695041f;  // -1 / ln 2

  static inline Vec forward(Vec x) { return overOnePlusPower(x, x * splat(exponent)); }
  static inline Vec timesSlope(Vec d, Vec input) {
    const Vec x = min(splat(80.0f), max(splat(-80.0f), input));
    const Vec power = exp2(x * splat(exponent));
    const Vec s = splat(1.0f) / (splat(1.0f) + power);
    return d * (s * fma(x, power * s, splat(1.0f)));
  }
  static inline ValueAndSlope valueAndSlope(Vec input) {
    const Vec x = min(splat(80.0f), max(splat(-80.0f), input));
    const Vec power = exp2(x * splat(exponent));
    const Vec s = splat(1.0f) / (splat(1.0f) + power);
    return {max(splat(-16384.0f), input) * s, s * fma(x, power * s, splat(1.0f))};
  }
};

// Calls body(Type{}) for the type of this kind; does nothing for none.
template <class Body>
static inline void withActivation(Activation kind, Body body) {
  switch (kind) {
    case Activation::none: return;
#define LOCKSTEP_CASE(name, Type) case Activation::name: return body(Type{});
    LOCKSTEP_ACTIVATIONS(LOCKSTEP_CASE)
#undef LOCKSTEP_CASE
  }
}

}  // namespace lockstep::LOCKSTEP_ISA
