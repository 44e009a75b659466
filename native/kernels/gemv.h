// Products of a few rows with a whole weight, as generation needs them token by token: each number of the weight is used only
// once or so, so what counts is how fast the weight streams from memory. Nothing is packed.
#pragma once

#include "gemm.h"

namespace lockstep::LOCKSTEP_ISA {

// From more rows on packing pays.
constexpr Index gemvRowsMost = 4;

// The same as gemm for rows of a that are contiguous (aCol 1). A row's sums are, bit for bit, those that it has alone: this is
// what lets sequences be decoded together. From gemvRowsMost rows on gemm is faster, whose sums are rounded in another order.
bool gemv(ThreadPool& pool, const Gemm& product);

}  // namespace lockstep::LOCKSTEP_ISA
