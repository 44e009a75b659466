// Vectorised exp, and what is made of it.
#pragma once

#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {

// e^x = 2^n · e^r with r in [-ln2/2, ln2/2], e^r by a minimax polynomial of degree 6 (its own error
// is 3e-9). Relative error below 2e-7 for x in [-87.3, 88.3]; outside, x is clamped to that range, so the result never
// is 0 or infinite. Not a number stays so.
static inline Vec exp(Vec x) {
  x = max(splat(-87.3f), x);
  x = min(splat(88.3f), x);
  const Vec magic = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  const Vec shifted = fma(x, splat(1.44269504f), magic);
  const Vec n = shifted - magic;
  Vec r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  Vec p = splat(1.38141765e-3f);
  p = fma(p, r, splat(8.36892203e-3f));
  p = fma(p, r, splat(4.16684079e-2f));
  p = fma(p, r, splat(0.166665189f));
  p = fma(p, r, splat(0.499999933f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
  const Vec power = fromBits((bitsOf(shifted) << 23) + splatU(127u << 23));
  return p * power;
}

// 1 / (1 + e^-x)
static inline Vec sigmoid(Vec x) { return splat(1.0f) / (splat(1.0f) + exp(-x)); }

}  // namespace lockstep::LOCKSTEP_ISA
