// The dropout factor of an element: 0, or 1 / (1 - rate).
#pragma once

#include "../random.h"
#include "kernels.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {

// The factors of elements index, index + 1, ... of sample `sample`. The generator counts in 32 bits.
static inline Vec dropoutFactors(const DropoutArguments& dropout, Index sample, Index index) {
  const RandomKey key = {dropout.keys[2 * sample], dropout.keys[2 * sample + 1]};
  const VecU bits = randomBits<VecU>(key, laneNumbers() + splatU(uint32_t(index)));
  return VecI(bits >> 8) >= VecI(splatU(dropout.threshold)) ? splat(dropout.scale) : Vec{};
}

}  // namespace lockstep::LOCKSTEP_ISA
