// Matrix products c = epilogue(a · b), packed, cache-blocked and register-tiled.
//
// Every element of c is summed over k in one fixed order that depends on k's length alone, never on the tile it is in or on
// the number of threads: results are bit-identical at any thread count.
#pragma once

#include "epilogue.h"

namespace lockstep::LOCKSTEP_ISA {

// Element (i, k) of a is a[i · aRow + k · aCol], element (k, j) of b is b[k · bRow + j · bCol]; one stride of each is 1, so
// that a transposed matrix is one with its strides exchanged. c is to.c.
struct Gemm {
  Index m, n, k;  // at least 1
  const float* a;
  Index aRow, aCol;
  const float* b;
  Index bRow, bCol;
  Epilogue to;
  float* columnSums = {};  // [n], += the sums of b's columns; or null
};

// On the thread pool. False if there was no memory to pack into.
bool gemm(ThreadPool& pool, const Gemm& product);

// Of each thread of the pool.
size_t gemmWorkspaceBytes();

}  // namespace lockstep::LOCKSTEP_ISA
