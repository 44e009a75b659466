// Causal attention on bfloat16 tensors: blocks of 32 keys by 32 queries for the unit that multiplies bfloat16 numbers, scores
// transposed as in attention.h. Weights and the gradients of scores are rounded to bfloat16 for their products; softmax and sums are
// float32.
#pragma once

#include "attention.h"
#include "packBf16.h"

namespace lockstep::LOCKSTEP_ISA {

bool attentionForwardBf16(ThreadPool& pool, const AttentionForwardArguments& p);
bool attentionBackwardBf16(ThreadPool& pool, const AttentionBackwardArguments& p);

namespace {

constexpr Index side = bf16Side;
constexpr Index blockFloats = side * side;  // sums of a block
static_assert(bf16Depth == side && side % (2 * W) == 0);

inline Index blocksOf(Index size) { return ceilDiv(size, side); }

// `numbers` bfloat16 numbers.
inline uint16_t* takeBf16(Carver& carver, Index numbers) { return reinterpret_cast<uint16_t*>(carver.take((numbers + 1) / 2)); }

// Pairs of bfloat16 numbers, the first in the lower half: rounded to nearest, away from 0 between two.
inline VecU roundedUpper(Vec v) { return bitsOf(v) + splatU(0x8000); }
inline VecU pairOf(VecU lower, VecU upper) { return lower >> 16 | (upper & splatU(0xffff0000u)); }
inline void storePairs(uint16_t* to, VecU pairs) { __builtin_memcpy(to, &pairs, sizeof pairs); }

// Panels of 32 rows as the left factor of a product that sums over their numbers (`rows` of `size` numbers, `stride` apart) or,
// transposed, over the rows.
inline void packRowsOf(const uint16_t* from, Index stride, Index rows, Index size, uint16_t* to) {
  packRowsBf16({{from, true, stride, 1}, rows, size, to, blocksOf(size) * blockFloats, nullptr});
}
inline void packRowsTransposed(const uint16_t* from, Index stride, Index rows, Index size, uint16_t* to) {
  packRowsBf16({{from, true, 1, stride}, size, rows, to, blocksOf(rows) * blockFloats, nullptr});
}
// Panels of 32 rows as the columns of the right factor of a product that sums over their numbers.
inline void packColumnsOf(const uint16_t* from, Index stride, Index rows, Index size, uint16_t* to) {
  packColumnsBf16({{from, true, stride, 1}, rows, size, to, blocksOf(size) * blockFloats, nullptr});
}

// Blocks of sums one after another, `columns` side by side: rows x, lanes queries. Writes `queries` rows of `size` numbers, each query's
// multiplied by its factor.
inline void scatterTransposed(const float* blocks, const float* factors, Index queries, Index size, uint16_t* to, Index stride) {
  float rows[blockFloats];
  for (Index x0 = 0; x0 < size; x0 += side, blocks += blockFloats) {
    for (Index x = 0; x < side; x += W) {
      for (Index q = 0; q < queries; q += W) transposeTile(blocks + x * side + q, side, W, W, rows + q * side + x, side);
    }
    for (Index q = 0; q < queries; q++) {
      forVectors(smaller(side, size - x0), [&](Index x, int count) {
        storeAny(to + q * stride + x0 + x, load(rows + q * side + x) * splat(factors[q]), count);
      });
    }
  }
}

}  // namespace
}  // namespace lockstep::LOCKSTEP_ISA
