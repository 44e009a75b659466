// Matrix products c = a · b (+ c) (+ bias), packed, cache-blocked and register-tiled.
//
// Every element of c is summed over k in one fixed order that depends on k's length alone, never on the tile it is in or on
// the number of threads: results are bit-identical at any thread count.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {

// Element (i, k) of a is a[i · aRow + k · aCol], element (k, j) of b is b[k · bRow + j · bCol]; one stride of each is 1, so
// that a transposed matrix is one with its strides exchanged. c has rows of ldc.
struct Gemm {
  Index m, n, k;
  const float* a;
  Index aRow, aCol;
  const float* b;
  Index bRow, bCol;
  float* c;
  Index ldc;
  const float* bias;  // [n], added to each row; or null
  bool accumulate;    // c += instead of c =
};

// On the thread pool.
void gemm(ThreadPool& pool, const Gemm& product);

// On the calling thread, which packs into its `workspace` (ThreadPool::workspace).
void gemmSerial(void* workspace, const Gemm& product);

size_t gemmWorkspaceBytes();

}  // namespace lockstep::LOCKSTEP_ISA
