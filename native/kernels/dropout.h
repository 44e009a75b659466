// The dropout factor of an element: 0, or 1 / (1 - rate).
#pragma once

#include "../random.h"
#include "kernels.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {

// The lanes whose element is kept, of sample `sample`.
static inline VecI dropoutKeeps(const DropoutArguments& dropout, Index sample, VecU elements) {
  const RandomKey key = {dropout.keys[2 * sample], dropout.keys[2 * sample + 1]};
  return randomBits<VecU>(key, elements) >= splatU(dropout.threshold << 8);
}

// The factors of elements index, index + 1, ... of sample `sample`. The generator counts in 32 bits.
static inline Vec dropoutFactors(const DropoutArguments& dropout, Index sample, Index index) {
  return dropoutKeeps(dropout, sample, laneNumbers() + splatU(uint32_t(index))) ? splat(dropout.scale) : Vec{};
}

}  // namespace lockstep::LOCKSTEP_ISA
