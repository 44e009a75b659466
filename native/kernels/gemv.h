// Products of a few rows with a complete weight, for generating token by token. Each number of the weight is used only
// about once, so the speed at which the weight streams from memory decides. Nothing is packed.
#pragma once

#include "gemm.h"

namespace lockstep::LOCKSTEP_ISA {

// With more rows, packing is faster.
constexpr Index gemvRowsMost = 4;

// The same as gemm for rows of a that are contiguous (aCol 1). A row's sums are bit-for-bit those of the row alone,
// so sequences can be decoded together. Beyond gemvRowsMost rows gemm is faster, but it rounds sums in another order.
bool gemv(ThreadPool& pool, const Gemm& product);

}  // namespace lockstep::LOCKSTEP_ISA
