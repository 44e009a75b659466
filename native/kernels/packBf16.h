// Packs lines (rows of a, or columns of b) of float32 or bfloat16 numbers for the product of bfloat16 matrices: rounded if they
// are float32, in panels of 32 lines, with zeros in the rest of the last panel and the last step.
#pragma once

#include "blockBf16.h"
#include "indexMath.h"

namespace lockstep::LOCKSTEP_ISA {

// Number k of line i is at i · line + k · depth; one of the strides is 1.
struct LinesBf16 {
  const void* data;
  bool bfloat16;
  Index line, depth;

  // The lines from `i` on and their numbers from k on.
  LinesBf16 from(Index i, Index k) const {
    const Index bytes = (i * line + k * depth) * Index(bfloat16 ? sizeof(uint16_t) : sizeof(float));
    return {static_cast<const char*>(data) + bytes, bfloat16, line, depth};
  }
};

struct PackBf16 {
  LinesBf16 lines;
  Index count, depth;
  uint16_t* to;
  Index panelStride;  // from one panel to the next
  float* sums;        // [count], += the sums of the lines as they are packed; or null. Not for lines that lie along the depth.
};

constexpr Index stepsBf16(Index depth) { return ceilDiv(depth, bf16Depth); }

// Steps one after another, of each the 32 rows one after another.
void packRowsBf16(const PackBf16& pack);
// Pairs of k one after another, of each the 32 columns one after another.
void packColumnsBf16(const PackBf16& pack);

}  // namespace lockstep::LOCKSTEP_ISA
