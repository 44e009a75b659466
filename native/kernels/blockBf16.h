// The innermost part of a product of bfloat16 matrices: 32 x 32 sums over a packed panel of each matrix.
#pragma once

#include "../bf16Unit.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {

constexpr int bf16Side = 32;   // rows of a panel of a, columns of a panel of b
constexpr int bf16Depth = 32;  // k of one step

struct Bf16Block {
  // 32 rows of a: step s of row i is the 32 numbers from a + i · aRow + s · aStep.
  const uint16_t* a;
  Index aRow, aStep;
  // 32 columns of b: for each pair of k, the two numbers of the first column, of the second, ...
  const uint16_t* b;
  int steps;
  float* sums;               // 32 rows of 32
  bool accumulate;           // else assigned
  Index sumsRow = bf16Side;  // from one row of the sums to the next
};

using Bf16BlockFunction = void (*)(const Bf16Block&);

// The function for this unit, which the machine must support.
Bf16BlockFunction bf16BlockFunction(Bf16Unit unit);

// Surrounds its calls, on the calling thread: AMX has a state that must be set and released.
class Bf16UnitInUse {
 public:
  explicit Bf16UnitInUse(Bf16Unit unit);
  ~Bf16UnitInUse();
  Bf16UnitInUse(const Bf16UnitInUse&) = delete;
  Bf16UnitInUse& operator=(const Bf16UnitInUse&) = delete;

 private:
  Bf16Unit unit_;
};

}  // namespace lockstep::LOCKSTEP_ISA
