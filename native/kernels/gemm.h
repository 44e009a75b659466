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
  Index m, n, k;
  const float* a;
  Index aRow, aCol;
  const float* b;
  Index bRow, bCol;
  Epilogue to;
};

// On the thread pool. False if there was no memory for the sums.
bool gemm(ThreadPool& pool, const Gemm& product);

size_t gemmWorkspaceBytes();

// ---- The pieces, for kernels that use what they packed several times -------------------------------------------------------

// The register tile: tileRows rows of tileVectors vectors. Their accumulators, the vectors of b and one of a fill the registers.
#if defined(__AVX512F__)
constexpr int tileRows = 14, tileVectors = 2;
#elif defined(__AVX2__)
constexpr int tileRows = 6, tileVectors = 2;
#elif defined(__aarch64__)
constexpr int tileRows = 8, tileVectors = 3;
#else
constexpr int tileRows = 4, tileVectors = 2;
#endif
constexpr int tileColumns = tileVectors * W;

// A panel is tileRows rows of a (or tileColumns columns of b) with, for each k, its values one after another; what is missing in the
// last panel is 0. Packing writes up to W floats past the last panel of a.
void packRows(const float* a, Index rowStride, Index kStride, Index rows, Index depth, float* to);
void packColumns(const float* b, Index columnStride, Index kStride, Index columns, Index depth, float* to);

// c [rows, columns] = a · b, or += with `accumulate`; `a` is one panel, the panels of b are bPanelStride floats apart.
struct RowPanel {
  const float* a;
  const float* b;
  Index bPanelStride, depth;
  int rows;
  Index columns;
  float* c;
  Index ldc;
  bool accumulate;
};
void multiplyRowPanel(const RowPanel& panel);

}  // namespace lockstep::LOCKSTEP_ISA
