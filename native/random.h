// The counter-based generator of src/base/counterRandom.ts, bit for bit, for one lane or a vector of lanes (`T` is an
// unsigned 32-bit integer or a vector of them).
#pragma once

#include <cstdint>

namespace lockstep::LOCKSTEP_ISA {

struct RandomKey {
  uint32_t k0, k1;
};

template <class T>
static inline T mix32(T x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

template <class T>
static inline T randomBits(RandomKey key, T index) {
  return mix32<T>(mix32<T>(index ^ key.k0) + key.k1);
}

}  // namespace lockstep::LOCKSTEP_ISA
