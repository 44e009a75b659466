// The linear layer with products of bfloat16 numbers.
#pragma once

#include "kernels.h"

namespace lockstep::LOCKSTEP_ISA {

// sums[j] += the sum over rows of matrix[i, j], in the order of the rows.
void addColumnSums(ThreadPool& pool, FloatArray matrix, Index rows, Index columns, float* sums);

bool linearForwardBf16(ThreadPool& pool, const LinearForwardArguments& p);
bool linearBackwardBf16(ThreadPool& pool, const LinearBackwardArguments& p);

}  // namespace lockstep::LOCKSTEP_ISA
