// Transposition of W x W floats in registers.
#pragma once

#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {

// One step of a transposition: exchanges the lanes with bit S set in `a` with those without it in `b`.
template <int S, int... L>
static inline void exchange(Vec& a, Vec& b, std::integer_sequence<int, L...>) {
#if defined(__clang__)
  const Vec low = __builtin_shufflevector(a, b, ((L & S) ? W + L - S : L)...);
  const Vec high = __builtin_shufflevector(a, b, ((L & S) ? W + L : L + S)...);
#else
  const Vec low = __builtin_shuffle(a, b, VecI{((L & S) ? W + L - S : L)...});
  const Vec high = __builtin_shuffle(a, b, VecI{((L & S) ? W + L : L + S)...});
#endif
  a = low;
  b = high;
}

template <int S>
static inline void transposeSteps(Vec (&v)[W]) {
  if constexpr (S < W) {
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) {
      if ((i & S) == 0) exchange<S>(v[i], v[i + S], std::make_integer_sequence<int, W>());
    }
    transposeSteps<S * 2>(v);
  }
}

// to[k · toStride + i] = from[i · fromStride + k] for `rows` <= W rows and `depth` <= W columns; writes complete vectors of W.
static inline void transposeTile(const float* from, Index fromStride, int rows, int depth, float* to, Index toStride) {
  Vec v[W];
  if (depth == W) {
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) v[i] = i < rows ? load(from + i * fromStride) : Vec{};
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) v[i] = i < rows ? loadPart(from + i * fromStride, depth) : Vec{};
  }
  transposeSteps<1>(v);
  if (depth == W) {
#pragma GCC unroll 16
    for (int k = 0; k < W; k++) store(to + k * toStride, v[k]);
  } else {
    for (int k = 0; k < depth; k++) store(to + k * toStride, v[k]);
  }
}

}  // namespace lockstep::LOCKSTEP_ISA
