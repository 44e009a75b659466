// The unit that multiplies bfloat16 numbers and sums the products in float32.
#pragma once

// Units for which this build has kernels, because the compiler supports their instructions.
#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<avx512bf16intrin.h>)
#define LOCKSTEP_BF16_DOTS 1
#endif
#if defined(__linux__) && __has_include(<amxbf16intrin.h>)
#define LOCKSTEP_BF16_TILES 1
#endif
#endif

namespace lockstep {

enum class Bf16Unit {
  widened,  // no special unit: float32 multiply-adds
  dots,     // AVX512-BF16
  tiles,    // AMX-BF16
};

}  // namespace lockstep
