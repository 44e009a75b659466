// Matrix products c = epilogue(a · b), packed, cache-blocked and register-tiled.
//
// Every element of c is summed over k in a fixed order that depends only on the length of k, never on its tile or
// the number of threads: results are bit-for-bit identical for any number of threads.
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

// Runs on the thread pool. False if memory for packing is not available.
bool gemm(ThreadPool& pool, const Gemm& product);

// The workspace of each thread of the pool.
size_t gemmWorkspaceBytes();

}  // namespace lockstep::LOCKSTEP_ISA
