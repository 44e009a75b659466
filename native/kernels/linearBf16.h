// The linear layer with products of bfloat16 numbers.
#pragma once

#include "kernels.h"

namespace lockstep::LOCKSTEP_ISA {

bool linearForwardBf16(ThreadPool& pool, const LinearForwardArguments& p);
bool linearBackwardBf16(ThreadPool& pool, const LinearBackwardArguments& p);

}  // namespace lockstep::LOCKSTEP_ISA
