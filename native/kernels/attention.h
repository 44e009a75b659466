// Shared by the passes of attention: the current head, its rows gathered from the tensors, and products of blocks.
//
// Scores are kept transposed: a row belongs to a key, its lanes to queries. A query's softmax then never leaves its lane, and
// the products read rows of weights one number at a time, and complete rows of channels.
#pragma once

#include <numeric>

#include "dropout.h"
#include "math.h"
#include "parallel.h"
#include "prefetch.h"
#include "simd.h"
#include "transpose.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr float log2e = 1.44269504f;

// Tiles in registers, rows by vectors. The wide one needs fewer loads per operation, if there are enough columns.
template <int Rows, int Vectors>
struct TileShape {
  static constexpr int rows = Rows, vectors = Vectors, columns = Vectors * W;
};
#if defined(__AVX512F__) || defined(__aarch64__)
using Narrow = TileShape<8, 3>;
using Wide = TileShape<6, 4>;
#else
using Narrow = TileShape<6, 2>;
using Wide = Narrow;
#endif

// Maximum number of queries in a block; rows of key blocks are a multiple of rowsUnit.
constexpr Index blockQueries = 48;
constexpr Index rowsUnit = 24;
static_assert(blockQueries % rowsUnit == 0 && rowsUnit % Narrow::rows == 0 && rowsUnit % Wide::rows == 0 && blockQueries % W == 0);

// Divides a block of memory into pieces, each aligned to 64 bytes; without a block, only counts.
struct Carver {
  float* block;
  Index used = 0;

  float* take(Index floats) {
    float* piece = block == nullptr ? nullptr : block + used;
    used += roundUp(floats, 16);
    return piece;
  }
};

// One head of one sample. Gathered rows are `width` floats long and end with zeros; there are `rows` of them.
struct Head {
  Index sample, head, kvHead, tq, tk, hs, c, width, rows;
  AttentionStrides strides;
  float scale;
  const DropoutArguments& dropout;
  const int32_t* starts;  // [Tq] or null: the first key that each query sees
  const int32_t* ends;    // [Tq] or null: the end of the keys that each query sees; null: that of its own position

  template <class Arguments>
  Head(const Arguments& p, Index task)
      : sample(task / p.heads.nHead),
        head(task % p.heads.nHead),
        kvHead(head / p.heads.perKvHead()),
        tq(p.tq),
        tk(p.tk),
        hs(p.heads.hs),
        c(p.heads.c()),
        width(roundUp(hs, W)),
        rows(roundUp(tk, rowsUnit)),
        strides(p.strides),
        scale(1.0f / __builtin_sqrtf(float(hs))),
        dropout(p.dropout),
        starts(p.ranges.starts == nullptr ? nullptr : p.ranges.starts + sample * p.tq),
        ends(p.ranges.ends == nullptr ? nullptr : p.ranges.ends + sample * p.tq) {}

  // The start of this head in the queries, in the keys and in the values, and in a tensor [B, Tq, C].
  Index inQueries() const { return sample * tq * strides.query + head * hs; }
  Index inKeys() const { return sample * tk * strides.key + kvHead * hs; }
  Index inOut() const { return sample * tq * c + head * hs; }

  // Whether rows of channels fill the wide tile.
  bool wide() const { return width % Wide::columns == 0; }
  // Number of queries of the block from i0 on. Blocks have about the same size, and no tile or vector spans two blocks.
  Index queriesFrom(Index i0) const {
    const Index blocks = ceilDiv(tq, blockQueries);
    static constexpr Index wideUnit = std::lcm(W, Wide::rows), narrowUnit = std::lcm(W, Narrow::rows);
    const Index unit = wide() ? wideUnit : narrowUnit;
    return smaller(roundUp(ceilDiv(tq, blocks), unit), tq - i0);
  }

  // Whether each query has a range of keys of its own. Blocks of queries then meet all keys from the first to the last that one of them sees.
  bool isRanged() const { return ends != nullptr; }
  // The first key that the block of queries from i0 on sees, rounded down to a multiple of `unit`.
  Index firstKey(Index i0, Index queries, Index unit) const {
    if (starts == nullptr) return 0;
    Index first = starts[i0];
    for (Index i = i0; isRanged() && i < i0 + queries; i++) first = smaller(first, starts[i]);
    return first / unit * unit;
  }
  // The end of the keys that it sees; of ranges, rounded up to a multiple of `unit`, so that no tile of keys is cut.
  Index keysEnd(Index i0, Index queries, Index unit) const {
    if (!isRanged()) return i0 + queries;
    Index end = 0;
    for (Index i = i0; i < i0 + queries; i++) end = larger(end, ends[i]);
    return roundUp(end, unit);
  }

  bool drops() const { return dropout.keys != nullptr; }
  float dropoutScale() const { return drops() ? dropout.scale : 1.0f; }

  // Element numbers of the weights of key j for queries i, i + 1, ..., the next key's being one more; and which of them are kept.
  VecU elementsFrom(Index i, Index j) const {
    return splatU(uint32_t((head * tq + i) * tk + j)) + laneNumbers() * splatU(uint32_t(tk));
  }
  VecI keeps(VecU elements) const { return dropoutKeeps(dropout, sample, elements); }
};

// body(head, scratch, task, hasNext) for every head of every sample, one after another on each thread, the next being task + 1 if
// there is one. Groups of `together` heads stay on one thread. False if there is no memory.
template <class Scratch, class Arguments, class Body>
bool forHeads(ThreadPool& pool, const Arguments& p, Index together, Body body) {
  Carver size = {nullptr};
  Scratch(size, Head(p, 0));
  float* memory = pool.scratch(size_t(size.used * pool.threads()));
  if (memory == nullptr) return false;
  parallelRanges(pool, p.b * p.heads.nHead / together, 1, 1, [&](Index begin, Index end, int thread) {
    for (Index task = begin * together; task < end * together; task++) {
      const Head head(p, task);
      Carver carver = {memory + thread * size.used};
      body(head, Scratch(carver, head), task, task + 1 < end * together);
    }
  });
  return true;
}

// The start of a head's rows in the tensors.
template <class Float>
struct HeadRows {
  Float *query, *key, *value;

  static HeadRows of(const Head& head, const FloatArray& query, const FloatArray& key, const FloatArray& value) {
    return {static_cast<Float*>(query.data) + head.inQueries(), static_cast<Float*>(key.data) + head.inKeys(),
            static_cast<Float*>(value.data) + head.inKeys()};
  }

  template <class Arguments>
  static HeadRows of(const Arguments& p, Index task) { return of(Head(p, task), p.query, p.key, p.value); }
  // Those of the next head to prefetch; null after the last.
  template <class Arguments>
  static HeadRows next(const Arguments& p, Index task, bool hasNext) { return hasNext ? of(p, task + 1) : HeadRows{}; }
};

// Prefetches `rows` rows of a head from row i0 on; nothing if there is no head.
template <class Float>
inline void fetchHead(Prefetcher& prefetcher, const HeadRows<Float>& from, const Head& head, Index i0, Index rows) {
  if (from.query == nullptr) return;
  const Index bytes = head.hs * Index(sizeof(Float)), query = head.strides.query, key = head.strides.key;
  prefetcher.add(from.query + i0 * query, query * Index(sizeof(Float)), rows, bytes);
  const Index keys = smaller(rows, head.tk - i0);
  for (const Float* part : {from.key, from.value}) prefetcher.add(part + i0 * key, key * Index(sizeof(Float)), keys, bytes);
}

inline Vec where(VecI condition, Vec a, Vec b) { return condition ? a : b; }

// The logs of the softmax denominators of W queries. The backward pass subtracts both numbers from the scores, which are powers of 2, to
// compute the weights again.
struct DenominatorLog {
  // A smaller rest is dropped: it changes a weight by less than 2.7e-6.
  static constexpr float restLeast = 1.0f / (1 << 18);
  static constexpr float toNatural = 1 / log2e;
  Vec log, rest;

  // float32 rounds the log of scores of 10^6 by hundredths, and the weights would be off by as much. The rest is what rounding left out.
  static DenominatorLog of(Vec maximum, Vec sum) {
    const Vec logOfSum = log2(sum), log = (maximum + logOfSum) * splat(toNatural);
    const Vec rest = (maximum - rounded(log * splat(log2e))) + logOfSum;
    return {log, where(abs(rest) < splat(restLeast), Vec{}, rest * splat(toNatural))};
  }
};

// The logs of a head's queries in memory.
template <class Float>
struct DenominatorLogs {
  Float *logs, *rests;  // [Tq]

  // Those of head `task` in a tensor [2, B, NH, Tq].
  template <class Arguments>
  static DenominatorLogs of(Float* lse, const Arguments& p, Index task) {
    return {lse + task * p.tq, lse + (p.b * p.heads.nHead + task) * p.tq};
  }

  void store(Index i, const DenominatorLog& log, int count) const {
    storeAny(logs + i, log.log, count);
    storeAny(rests + i, log.rest, count);
  }
};

// The keys that W queries from i on see, of which those from Tq on do not matter.
struct SeenKeys {
  VecI starts = {}, ends;
  Index last = 0;  // the greatest start
  Index common;    // the least end

  SeenKeys(const Head& head, Index i) : ends(VecI(laneNumbers() + splatU(uint32_t(i + 1)))), common(i + 1) {
    const Index count = smaller(W, head.tq - i);
    if (count <= 0) return;
    int32_t lanes[W] = {};
    if (head.starts != nullptr) {
      for (Index n = 0; n < count; n++) last = larger(last, lanes[n] = head.starts[i + n]);
      __builtin_memcpy(&starts, lanes, sizeof starts);
    }
    if (head.ends != nullptr) {
      common = head.tk;
      for (Index n = 0; n < W; n++) common = smaller(common, lanes[n] = head.ends[i + smaller(n, count - 1)]);
      __builtin_memcpy(&ends, lanes, sizeof ends);
    }
  }

  // Number of keys from j0 on, at most `keys`, before the greatest start: only these may be before the range of a query.
  Index keysToCheck(Index j0, Index keys) const { return larger(0, smaller(keys, last - j0)); }
  // The queries whose range ends after key j; those whose range contains it.
  VecI endAfter(Index j) const { return VecI(splatU(uint32_t(j))) < ends; }
  VecI see(Index j) const { return endAfter(j) & (starts <= VecI(splatU(uint32_t(j)))); }
};

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

// to[x · blockQueries + i] = from[i · stride + x] · factor for `rows` rows; zeros up to complete vectors.
inline void transposeRows(const float* from, Index stride, Index rows, Index size, float factor, float* to) {
  for (Index i = 0; i < rows; i += W) {
    for (Index x = 0; x < size; x += W) {
      float* tile = to + x * blockQueries + i;
      const Index depth = smaller(W, size - x);
      transposeTile(from + i * stride + x, stride, int(smaller(W, rows - i)), int(depth), tile, blockQueries);
      if (factor != 1) {
        for (Index k = 0; k < depth; k++, tile += blockQueries) store(tile, load(tile) * splat(factor));
      }
    }
  }
}

// The layout of a factor's rows: one after another, or as columns.
enum class Lies { inRows, inColumns };

// c = a · b, or += with `accumulate`: R rows, V vectors, a sum over `depth`.
template <Lies lies, int R, int V>
inline void multiplyTile(const float* a, Index lda, const float* b, Index ldb, Index depth, float* c, Index ldc, bool accumulate) {
  Vec sum[R][V] = {};
#pragma GCC unroll 2
  for (Index k = 0; k < depth; k++, b += ldb, a += lies == Lies::inRows ? 1 : lda) {
    Vec bv[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) bv[v] = load(b + v * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const Vec av = splat(a[lies == Lies::inRows ? r * lda : r]);
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sum[r][v] = fma(av, bv[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++, c += ldc) {
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) store(c + v * W, accumulate ? load(c + v * W) + sum[r][v] : sum[r][v]);
  }
}

// The same for `columns` columns, a multiple of W.
template <Lies lies, int R, int V>
inline void multiplyRows(const float* a, Index lda, const float* b, Index ldb, Index depth, float* c, Index ldc, Index columns,
                         bool accumulate) {
  Index x = 0;
  for (; x + V * W <= columns; x += V * W) multiplyTile<lies, R, V>(a, lda, b + x, ldb, depth, c + x, ldc, accumulate);
  if constexpr (V > 1) {
    if (x < columns) multiplyRows<lies, R, V - 1>(a, lda, b + x, ldb, depth, c + x, ldc, columns - x, accumulate);
  }
}

// A block of queries against a block of keys. Products and weights have a row of blockQueries for each key.
struct Block {
  Index i0, queries, first, j0, keys;  // `first`: of all keys that the queries meet
  bool addsToKeys;                     // whether another head added to the sums of the keys before
  const Head& head;
  Prefetcher& prefetcher;

  // Keys of this block that some of the queries before i0 + q see.
  Index keysBefore(Index q) const { return head.isRanged() ? keys : larger(0, smaller(keys, i0 + q - j0)); }
  // The first query of this block that sees one of the keys from key j of this block on.
  Index firstSeeing(Index j) const { return head.isRanged() ? 0 : larger(0, j0 + j - i0); }
  // Number of keys whose weights for W queries from q on are read by the sums, and the first of them.
  Index keysReadFrom(Index q) const { return keysBefore(roundUp(q + W, tileRows())); }
  Index firstReadFrom(Index q) const { return smaller(keysUnseen(q / tileRows() * tileRows()), keysUnseen(q) / tileRows() * tileRows()); }

  // products[j][q] = keyRows[j0 + j] · queries[q], where weights of a vector are read. `queryColumns` are rows of blockQueries.
  void multiplyQueries(const float* queryColumns, const float* keyRows, float* products) const {
    for (Index j = 0; j < keys; j += Narrow::rows) {
      const Index q = firstSeeing(j) / W * W;
      Index end = roundUp(queries, W);
      while (end > q && firstReadFrom(end - W) >= j + Narrow::rows) end -= W;
      prefetcher.step();
      if (q >= end) continue;
      multiplyRows<Lies::inRows, Narrow::rows, Narrow::vectors>(keyRows + (j0 + j) * head.width, head.width, queryColumns + q,
                                                                blockQueries, head.hs, products + j * blockQueries + q,
                                                                blockQueries, end - q, false);
    }
  }

  // sums[q] = or += Σ over the keys that q may see of weights[j][q] · rows[j0 + j].
  void sumOverKeys(const float* weights, const float* rows, float* sums) const {
    if (head.wide()) sumOverKeysWith<Wide>(weights, rows, sums);
    else sumOverKeysWith<Narrow>(weights, rows, sums);
  }

  // sums[j0 + j] = or += Σ over the queries that may see key j of weights[j][q] · rows[q]. The first block of queries that sees a key
  // assigns, unless it adds to the sums of another head or has ranges: then the sums begin as zeros.
  void sumOverQueries(const float* weights, const float* rows, float* sums) const {
    if (head.wide()) sumOverQueriesWith<Wide>(weights, rows, sums);
    else sumOverQueriesWith<Narrow>(weights, rows, sums);
  }

 private:
  Index tileRows() const { return head.wide() ? Wide::rows : Narrow::rows; }
  // Whether the queries have documents, whose starts ascend.
  bool hasDocuments() const { return head.starts != nullptr && !head.isRanged(); }
  // Number of keys of this block before the document of query q: neither it nor a later query sees them.
  Index keysUnseen(Index q) const { return hasDocuments() ? larger(0, smaller(keys, head.starts[i0 + q] - j0)) : 0; }
  // Whether query q sees keys before this block, and after `first`.
  bool sawKeys(Index q) const { return j0 > (hasDocuments() ? larger(first, head.starts[i0 + q]) : first); }

  template <class Shape>
  void sumOverKeysWith(const float* weights, const float* rows, float* sums) const {
    const Index width = head.width;
    for (Index q = 0; q < queries; q += Shape::rows) {
      const Index begin = keysUnseen(q), depth = keysBefore(q + Shape::rows) - begin;
      prefetcher.step();
      if (depth <= 0) continue;
      multiplyRows<Lies::inColumns, Shape::rows, Shape::vectors>(weights + begin * blockQueries + q, blockQueries,
                                                                 rows + (j0 + begin) * width, width, depth, sums + q * width, width,
                                                                 width, sawKeys(q));
    }
  }

  template <class Shape>
  void sumOverQueriesWith(const float* weights, const float* rows, float* sums) const {
    const Index width = head.width;
    Index end = hasDocuments() ? 0 : queries;  // the end of the queries whose documents begin before the end of the keys
    for (Index j = 0; j < keys; j += Shape::rows) {
      const Index q = firstSeeing(j), keysEnd = j0 + smaller(keys, j + Shape::rows);
      while (end < queries && head.starts[i0 + end] < keysEnd) end++;
      prefetcher.step();
      if (q >= end) continue;
      multiplyRows<Lies::inRows, Shape::rows, Shape::vectors>(weights + j * blockQueries + q, blockQueries, rows + q * width, width,
                                                              end - q, sums + (j0 + j) * width, width, width,
                                                              addsToKeys || head.isRanged() || j0 + j < i0);
    }
  }
};

}  // namespace
}  // namespace lockstep::LOCKSTEP_ISA
