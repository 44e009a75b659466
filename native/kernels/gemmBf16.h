// Products of matrices rounded to bfloat16, c = epilogue(a · b), summed in float32: with AMX up to fifteen times as fast as float32
// multiply-adds, with AVX512-BF16 half to twice as fast, depending on the processor. Float32 numbers are rounded
// during packing.
//
// Every element of c is summed over k in a fixed order that depends only on the length of k: results are bit-for-bit identical for any number
// of threads. Other kinds of unit round sums differently.
#pragma once

#include "epilogue.h"
#include "packBf16.h"

namespace lockstep::LOCKSTEP_ISA {

// `a` is by rows: LinesBf16 of m rows; `b` by columns: of n columns.
struct GemmBf16 {
  Index m, n, k;  // at least 1
  LinesBf16 a, b;
  Epilogue to;
  float* rowSums = nullptr;     // [m], += the sums of a's rows, where they are not along k; or null
  float* columnSums = nullptr;  // [n], += the sums of b's columns, likewise
};

// c = epilogue(a · b) for few columns of b, which is packed first (a weight), and many rows of a (activations).
bool gemmBf16(ThreadPool& pool, const GemmBf16& product);

// The same for a long k (a sum over activations): a, which should have the fewer lines, is packed first. With `transposed` it is the
// transpose of the product that goes to c.
bool gemmBf16LongSums(ThreadPool& pool, const GemmBf16& product, bool transposed);

size_t gemmBf16WorkspaceBytes();

}  // namespace lockstep::LOCKSTEP_ISA
