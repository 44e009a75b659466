// Arithmetic on sizes and positions: all are at least 0, divisors and units at least 1.
#pragma once

#include "kernels.h"

namespace lockstep::LOCKSTEP_ISA {

static constexpr Index smaller(Index a, Index b) { return a < b ? a : b; }
static constexpr Index larger(Index a, Index b) { return a > b ? a : b; }
static constexpr Index ceilDiv(Index a, Index b) { return (a + b - 1) / b; }
static constexpr Index roundUp(Index a, Index unit) { return ceilDiv(a, unit) * unit; }

}  // namespace lockstep::LOCKSTEP_ISA
