// What the passes of causal attention share: the head they work on, its rows gathered out of the tensors, and products of blocks.
//
// Scores are kept transposed: a row belongs to a key, its lanes to queries. A query's softmax then never leaves its lane, and a row
// of weights is what the products read: one number at a time from the one side, whole rows of channels from the other.
#pragma once

#include "dropout.h"
#include "parallel.h"
#include "simd.h"
#include "transpose.h"

namespace lockstep::LOCKSTEP_ISA {

// A tile in registers: rows and vectors. The rows divide a vector, and vectors the blocks.
#if defined(__AVX512F__)
constexpr int attentionRows = 8, attentionVectors = 2;
#elif defined(__aarch64__)
constexpr int attentionRows = 4, attentionVectors = 4;
#else
constexpr int attentionRows = 4, attentionVectors = 2;
#endif

// Hands out a block of memory piece by piece, each aligned to 64 bytes; without a block, counts only.
struct Carver {
  float* block;
  Index used = 0;

  float* take(Index floats) {
    float* piece = block == nullptr ? nullptr : block + used;
    used += (floats + 15) / 16 * 16;
    return piece;
  }
};

namespace {

constexpr Index R = attentionRows;
static_assert(W % R == 0);
constexpr float log2e = 1.44269504f;

inline Index smaller(Index a, Index b) { return a < b ? a : b; }
inline Index larger(Index a, Index b) { return a > b ? a : b; }
inline Index roundUp(Index a, Index unit) { return (a + unit - 1) / unit * unit; }

// One head of one sample. Gathered rows are `width` floats long and end with zeros.
struct Head {
  Index sample, head, t, hs, c, width;
  float scale;
  const DropoutArguments& dropout;

  template <class Arguments>
  Head(const Arguments& p, Index task)
      : sample(task / p.nHead),
        head(task % p.nHead),
        t(p.t),
        hs(p.c / p.nHead),
        c(p.c),
        width(roundUp(hs, W)),
        scale(1.0f / __builtin_sqrtf(float(hs))),
        dropout(p.dropout) {}

  // Where this head begins in a tensor whose rows have `parts` times C channels.
  Index offset(Index parts) const { return sample * t * parts * c + head * hs; }

  bool drops() const { return dropout.keys != nullptr; }

  // The lanes whose query keeps key j, where `random` is queryRandom of the first.
  VecI keeps(VecU random, Index j) const { return dropoutKeeps(dropout, sample, random + splatU(uint32_t(j))); }
  // Indices of the weights of key 0 for queries i, i + 1, ...
  VecU queryRandom(Index i) const {
    return splatU(uint32_t((head * t + i) * t)) + laneNumbers() * splatU(uint32_t(t));
  }
};

// Of the queries from i on, those that see key j.
inline VecI sees(Index i, Index j) { return VecI(laneNumbers()) >= VecI(splatU(uint32_t(int32_t(j - i)))); }
inline Vec where(VecI condition, Vec a, Vec b) { return condition ? a : b; }

// Rows from `from`, `stride` apart, into rows of `width`; zeros after `size` channels and after `rows` rows, up to `rowsMost`.
inline void gatherRows(const float* from, Index stride, Index rows, Index rowsMost, Index size, float* to, Index width) {
  for (Index i = 0; i < rows; i++, from += stride, to += width) {
    forVectors(size, [&](Index x, int count) { store(to + x, loadAny(from + x, count)); });
  }
  for (Index x = 0; x < (rowsMost - rows) * width; x += W) store(to + x, Vec{});
}

// The same, multiplied by `factor`, back into a tensor.
inline void scatterRows(const float* from, Index width, Index rows, Index size, float factor, float* to, Index stride) {
  for (Index i = 0; i < rows; i++, from += width, to += stride) {
    forVectors(size, [&](Index x, int count) { storeAny(to + x, load(from + x) * splat(factor), count); });
  }
}

// to[x · columns + i] = from[i · stride + x] for `rows` rows; columns, a multiple of W, are filled up with zeros.
inline void transposeRows(const float* from, Index stride, Index rows, Index size, float* to, Index columns) {
  for (Index i = 0; i < columns; i += W) {
    const int count = int(larger(0, smaller(W, rows - i)));
    for (Index x = 0; x < size; x += W) {
      transposeTile(from + i * stride + x, stride, count, int(smaller(W, size - x)), to + x * columns + i, columns);
    }
  }
}

// How the R rows of a factor lie: one after another, or as columns.
enum class Lies { inRows, inColumns };

// c = a · b, or += with `accumulate`: R rows, V vectors, a sum over `depth`.
template <Lies lies, int V>
inline void multiplyTile(const float* a, Index lda, const float* b, Index ldb, Index depth, float* c, Index ldc, bool accumulate) {
  Vec sum[R][V] = {};
#pragma GCC unroll 2
  for (Index k = 0; k < depth; k++, b += ldb, a += lies == Lies::inRows ? 1 : lda) {
    Vec bv[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) bv[v] = load(b + v * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const Vec av = splat(a[lies == Lies::inRows ? r * lda : r]);
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) sum[r][v] = fma(av, bv[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++, c += ldc) {
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) store(c + v * W, accumulate ? load(c + v * W) + sum[r][v] : sum[r][v]);
  }
}

// The same for `columns` columns, a multiple of W.
template <Lies lies, int V = attentionVectors>
inline void multiplyRows(const float* a, Index lda, const float* b, Index ldb, Index depth, float* c, Index ldc, Index columns,
                         bool accumulate) {
  Index x = 0;
  for (; x + V * W <= columns; x += V * W) multiplyTile<lies, V>(a, lda, b + x, ldb, depth, c + x, ldc, accumulate);
  if constexpr (V > 1) {
    if (x < columns) multiplyRows<lies, V / 2>(a, lda, b + x, ldb, depth, c + x, ldc, columns - x, accumulate);
  }
}

// A block of queries against a block of keys, `Queries` lanes to a row.
template <Index Queries>
struct Block {
  Index i0, queries, j0, keys;  // keys is a multiple of R

  // Keys of this block that some of the queries before i0 + q see.
  Index keysBefore(Index q) const { return larger(0, smaller(keys, i0 + q - j0)); }

  // products[j · Queries + q] = keyRows[j0 + j] · queries[q], where some query of a vector sees the key. `queryColumns` are rows
  // of Queries.
  void multiplyQueries(const float* queryColumns, const float* keyRows, Index width, Index hs, float* products) const {
    for (Index j = 0; j < keys; j += R) {
      const Index q = larger(0, (j0 + j - i0) / W * W);
      multiplyRows<Lies::inRows>(keyRows + (j0 + j) * width, width, queryColumns + q, Queries, hs, products + j * Queries + q,
                                 Queries, roundUp(queries, W) - q, false);
    }
  }

  // sums[q] = or += Σ over the keys that q may see of weights[j · Queries + q] · rows[j0 + j].
  void sumOverKeys(const float* weights, const float* rows, Index width, float* sums) const {
    for (Index q = 0; q < queries; q += R) {
      const Index depth = keysBefore(q + R);
      if (depth == 0) continue;
      multiplyRows<Lies::inColumns>(weights + q, Queries, rows + j0 * width, width, depth, sums + q * width, width, width, j0 > 0);
    }
  }

  // sums[j0 + j] = or += Σ over the queries that may see key j of weights[j · Queries + q] · rows[q]. The first block of queries that
  // sees a key assigns.
  void sumOverQueries(const float* weights, const float* rows, Index width, float* sums) const {
    const Index end = roundUp(queries, R);
    for (Index j = 0; j < keys; j += R) {
      const Index q = larger(0, j0 + j - i0);
      multiplyRows<Lies::inRows>(weights + j * Queries + q, Queries, rows + q * width, width, end - q, sums + (j0 + j) * width,
                                 width, width, j0 + j < i0);
    }
  }
};

}  // namespace
}  // namespace lockstep::LOCKSTEP_ISA
