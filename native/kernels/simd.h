// A vector of W floats for the instruction set this file is compiled for, on the vector extensions that GCC and Clang share;
// intrinsics only for operations that the extensions lack (fused multiply-add, masks, square root).
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace lockstep::LOCKSTEP_ISA {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float Vec __attribute__((vector_size(W * 4)));
typedef int32_t VecI __attribute__((vector_size(W * 4)));
typedef uint32_t VecU __attribute__((vector_size(W * 4)));

static inline Vec splat(float x) { return x - Vec{}; }
static inline VecU splatU(uint32_t x) { return x - VecU{}; }

static inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

static inline void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }

#if defined(__AVX512F__)
static inline Vec loadPart(const float* p, int count) { return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p); }
static inline void storePart(float* p, Vec v, int count) { _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), v); }
#elif defined(__AVX2__)
static inline __m256i partMask(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline Vec loadPart(const float* p, int count) { return _mm256_maskload_ps(p, partMask(count)); }
static inline void storePart(float* p, Vec v, int count) { _mm256_maskstore_ps(p, partMask(count), v); }
#else
// The first `count` (0..W) floats at p; the other lanes are 0.
static inline Vec loadPart(const float* p, int count) {
  Vec v = {};
  for (int i = 0; i < count; i++) v[i] = p[i];
  return v;
}
static inline void storePart(float* p, Vec v, int count) {
  for (int i = 0; i < count; i++) p[i] = v[i];
}
#endif

// a · b + c
static inline Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__ARM_NEON)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

static inline Vec sqrt(Vec a) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_ps(__mmask16(-1), a);  // the plain form makes GCC 12 warn
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(a);
#elif defined(__x86_64__)
  return _mm_sqrt_ps(a);
#elif defined(__aarch64__)
  return vsqrtq_f32(a);
#else
  for (int i = 0; i < W; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}

// The larger and the smaller lane; if `b` is NaN, so is the result.
#if defined(__AVX512F__)
static inline Vec max(Vec a, Vec b) { return _mm512_maskz_max_ps(__mmask16(-1), a, b); }  // the plain forms make GCC 12 warn
static inline Vec min(Vec a, Vec b) { return _mm512_maskz_min_ps(__mmask16(-1), a, b); }
#elif defined(__AVX2__)
static inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
static inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
#else
static inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
static inline Vec min(Vec a, Vec b) { return a < b ? a : b; }
#endif

static inline Vec abs(Vec a) { return max(-a, a); }

// `a`, rounded: a product that goes through here is not fused with the sum that it is part of.
static inline Vec rounded(Vec a) {
  __asm__("" : "+m"(a));
  return a;
}

static inline Vec toFloat(VecI a) { return __builtin_convertvector(a, Vec); }
static inline VecU bitsOf(Vec a) { return VecU(a); }
static inline Vec fromBits(VecU a) { return Vec(a); }

// Lanes below `count` of `v`, the others of `rest`.
static inline Vec firstLanes(Vec v, int count, Vec rest) {
#if defined(__AVX512F__)
  return _mm512_mask_mov_ps(rest, __mmask16((1u << count) - 1), v);
#elif defined(__AVX2__)
  return _mm256_blendv_ps(rest, v, _mm256_castsi256_ps(partMask(count)));
#else
  for (int i = count; i < W; i++) v[i] = rest[i];
  return v;
#endif
}

// Sum and maximum of the lanes, in a fixed order.
#if defined(__AVX2__)
static inline float sumLanes8(__m256 v) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
static inline float maxLane8(__m256 v) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
#endif
#if defined(__AVX512F__)
// Masked forms, because the plain ones make GCC 12 warn about its own header.
template <int Half>
static inline __m256 half(Vec v) {
  return _mm512_maskz_extractf32x8_ps(0xff, v, Half);
}
static inline float sumLanes(Vec v) { return sumLanes8(_mm256_add_ps(half<0>(v), half<1>(v))); }
static inline float maxLane(Vec v) { return maxLane8(_mm256_max_ps(half<0>(v), half<1>(v))); }
#elif defined(__AVX2__)
static inline float sumLanes(Vec v) { return sumLanes8(v); }
static inline float maxLane(Vec v) { return maxLane8(v); }
#else
static inline float sumLanes(Vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }
static inline float maxLane(Vec v) {
  const float a = v[0] > v[2] ? v[0] : v[2];
  const float b = v[1] > v[3] ? v[1] : v[3];
  return a > b ? a : b;
}
#endif

// Lanes 0, 1, 2, ...
template <int... L>
static inline VecU laneNumbers(std::integer_sequence<int, L...>) {
  return VecU{uint32_t(L)...};
}
static inline VecU laneNumbers() { return laneNumbers(std::make_integer_sequence<int, W>()); }

// Calls body(offset, count) for every vector of [0, size): count is W except for the last.
template <class Body>
static inline void forVectors(Index size, Body body) {
  Index i = 0;
  for (; i + W <= size; i += W) body(i, W);
  if (i < size) body(i, int(size - i));
}
static inline Vec loadAny(const float* p, int count) { return count == W ? load(p) : loadPart(p, count); }
static inline void storeAny(float* p, Vec v, int count) {
  if (count == W) store(p, v);
  else storePart(p, v, count);
}

// ---- bfloat16: the upper half of a float32 ---------------------------------------------------------------------------------

typedef uint16_t VecH __attribute__((vector_size(W * 2)));

// Rounded to nearest, ties to even. NaN stays NaN.
static inline VecH toBfloat16(Vec v) {
  const VecU bits = bitsOf(v);
  const VecU rounded = (bits + splatU(0x7fff) + ((bits >> 16) & splatU(1))) >> 16;
  return __builtin_convertvector(v == v ? rounded : (bits >> 16) | splatU(0x40), VecH);
}
static inline Vec fromBfloat16(VecH h) { return fromBits(__builtin_convertvector(h, VecU) << 16); }

static inline Vec loadAny(const uint16_t* p, int count) {
  VecH h = {};
  if (count == W) __builtin_memcpy(&h, p, sizeof h);
  else __builtin_memcpy(&h, p, size_t(count) * sizeof *p);
  return fromBfloat16(h);
}
static inline void storeAny(uint16_t* p, Vec v, int count) {
  const VecH h = toBfloat16(v);
  if (count == W) __builtin_memcpy(p, &h, sizeof h);
  else __builtin_memcpy(p, &h, size_t(count) * sizeof *p);
}

}  // namespace lockstep::LOCKSTEP_ISA
