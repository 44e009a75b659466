// Vectorised exp2, exp and log2.
#pragma once

#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {

// e^x = 2^n · e^r with r in [-ln2/2, ln2/2], e^r by a minimax polynomial of degree 6 (its own error
// is 3e-9). Relative error below 2e-7 for x in [-87.3, 88.3]; outside, x is clamped to that range, so the result is never
// 0 or infinite. NaN stays NaN.
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

// 2^x = 2^n · 2^f with f in [-1/2, 1/2], 2^f by a minimax polynomial of degree 5. Relative error below 2.5e-7 for x in [-126, 127];
// below -126 at most 2^-126, and finally 0. NaN stays NaN.
static inline Vec exp2(Vec x) {
#if defined(__AVX512F__)
  const Vec f = _mm512_maskz_reduce_ps(__mmask16(-1), x, 0);
  const Vec n = x - f;
#else
  const Vec magic = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  const Vec shifted = max(splat(-126.0f), x) + magic;
  const Vec n = shifted - magic;
  const Vec f = max(splat(-126.0f), x) - n;
#endif
  Vec p = splat(1.32764725e-3f);
  p = fma(p, f, splat(9.67554096e-3f));
  p = fma(p, f, splat(5.55071309e-2f));
  p = fma(p, f, splat(0.240221202f));
  p = fma(p, f, splat(0.693146944f));
  p = fma(p, f, splat(1.00000012f));
#if defined(__AVX512F__)
  return _mm512_maskz_scalef_ps(__mmask16(-1), p, n);
#else
  const Vec power = fromBits(bitsOf(p) + (bitsOf(shifted) << 23));
  return x < splat(-126.0f) ? Vec{} : power;
#endif
}

// log2(x) = n + log2(m) with m in [√½, √2), log2(m) by a minimax polynomial of degree 9 in m - 1 with an error of 7e-8. For normal,
// positive x.
static inline Vec log2(Vec x) {
  const VecI bits = VecI(bitsOf(x)) - VecI(splatU(0x3f3504f3));  // those of √½
  const Vec n = toFloat(bits >> 23);
  const Vec t = fromBits(VecU(bits & VecI(splatU(0x7fffff))) + splatU(0x3f3504f3)) - splat(1.0f);
  Vec p = splat(0.125836894f);
  p = fma(p, t, splat(-0.207269683f));
  p = fma(p, t, splat(0.215715617f));
  p = fma(p, t, splat(-0.238944829f));
  p = fma(p, t, splat(0.287916243f));
  p = fma(p, t, splat(-0.360703677f));
  p = fma(p, t, splat(0.480910629f));
  p = fma(p, t, splat(-0.721347332f));
  p = fma(p, t, splat(1.44269502f));
  return fma(p, t, n);
}

}  // namespace lockstep::LOCKSTEP_ISA
