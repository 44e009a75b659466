#include "gemv.h"

#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// Below this size, handing over to other threads costs more than it saves.
constexpr Index sharedWorkLeast = 200'000;

// Runs the tasks on the pool, or all of them here if the product is small.
template <class Body>
void runTasks(ThreadPool& pool, const Gemm& p, Index tasks, Body body) {
  if (p.m * p.n * p.k >= sharedWorkLeast) return parallelTasks(pool, tasks, [&](Index task, int) { body(task); });
  for (Index task = 0; task < tasks; task++) body(task);
}

// Number of rows of a that are multiplied together, such that their factors and sums fit in registers.
constexpr int groupRows = 4;

template <int M>
struct Rows {};

// body(first row, Rows<M>) for every group of rows of a.
template <class Body>
inline void forGroups(Index rows, Body body) {
  static_assert(groupRows == 4);
  Index i = 0;
  for (; i + groupRows <= rows; i += groupRows) body(i, Rows<groupRows>{});
  if (rows - i == 1) body(i, Rows<1>{});
  if (rows - i == 2) body(i, Rows<2>{});
  if (rows - i == 3) body(i, Rows<3>{});
}

// Number of outputs that get their epilogue together.
constexpr Index tileWidth = 256;

// ---- Rows of b are contiguous ----------------------------------------------------------------------------------------------

// Rows of b are divided into blocks only by k. Each block gives a partial sum of every output, and these are added in order. A block is
// read from its first byte to its last, which is faster than reading some columns of all rows.
constexpr Index blockRows = 96;

// Rows of b that are added in one pass over the sums. With fewer, the sums are loaded and stored too often; with more, the processor
// no longer prefetches every row.
constexpr Index passRows = 8;

// Some columns of the partial sums of one block.
struct BlockPart {
  const float* a;
  Index aRow;
  const float* b;
  Index bRow, rows;
  float* sums;
  Index stride, columns;
};

// sums [columns] += the product of one row and ROWS rows of b, from `k` on.
template <Index ROWS>
void addRows(const BlockPart& p, Index k) {
  Vec factors[ROWS];
  for (Index r = 0; r < ROWS; r++) factors[r] = splat(p.a[k + r]);
  const float* b = p.b + k * p.bRow;
  forVectors(p.columns, [&](Index j, int count) {
    Vec sum = loadAny(p.sums + j, count);
#pragma GCC unroll 8
    for (Index r = 0; r < ROWS; r++) sum = fma(factors[r], loadAny(b + r * p.bRow + j, count), sum);
    storeAny(p.sums + j, sum, count);
  });
}

// The partial sums of one block for one row.
void sumBlock(const BlockPart& p) {
  __builtin_memset(p.sums, 0, size_t(p.columns) * sizeof(float));
  Index k = 0;
  for (; k + passRows <= p.rows; k += passRows) addRows<passRows>(p, k);
  for (; k < p.rows; k++) addRows<1>(p, k);
}

// Vectors of columns whose sums stay in registers during a pass, for a group of rows of a.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int tileVectors = 4;
#else
constexpr int tileVectors = 2;
#endif

// sums [M, VECTORS] of columns from j on += the product of M rows from `row` on and `rows` rows of b from `k` on. The last vector has
// `count` columns.
template <int M, int VECTORS>
void addTile(const BlockPart& p, Index row, Index k, Index rows, Index j, int count) {
  const float* a = p.a + row * p.aRow + k;
  const float* b = p.b + k * p.bRow + j;
  float* sums = p.sums + row * p.stride + j;
  const auto lanes = [&](int v) { return v < VECTORS - 1 ? W : count; };
  Vec sum[M][VECTORS];
#pragma GCC unroll 4
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) sum[i][v] = loadAny(sums + i * p.stride + v * W, lanes(v));
  }
  for (Index r = 0; r < rows; r++, b += p.bRow) {
    Vec bv[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) bv[v] = loadAny(b + v * W, lanes(v));
#pragma GCC unroll 4
    for (int i = 0; i < M; i++) {
      const Vec factor = splat(a[i * p.aRow + r]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sum[i][v] = fma(factor, bv[v], sum[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) storeAny(sums + i * p.stride + v * W, sum[i][v], lanes(v));
  }
}

// The partial sums of one block for m rows.
void sumBlockOfRows(const BlockPart& p, Index m) {
  for (Index i = 0; i < m; i++) __builtin_memset(p.sums + i * p.stride, 0, size_t(p.columns) * sizeof(float));
  for (Index k = 0; k < p.rows; k += passRows) {
    const Index rows = smaller(passRows, p.rows - k);
    Index j = 0;
    for (; j + tileVectors * W <= p.columns; j += tileVectors * W) {
      forGroups(m, [&]<int M>(Index row, Rows<M>) { addTile<M, tileVectors>(p, row, k, rows, j, W); });
    }
    for (; j < p.columns; j += W) {
      forGroups(m, [&]<int M>(Index row, Rows<M>) { addTile<M, 1>(p, row, k, rows, j, int(smaller(W, p.columns - j))); });
    }
  }
}

// Adds the partial sums [blocks, m, stride] of some rows and of columns from `first` on up, and finishes them.
template <int M>
void finishSums(const Gemm& p, const float* partial, Index blocks, Index stride, Index row, Index first) {
  alignas(64) float sums[M * tileWidth];
  const Index columns = smaller(tileWidth, p.n - first);
  for (Index i = 0; i < M; i++) {
    for (Index j = 0; j < columns; j += W) {
      const float* from = partial + (row + i) * stride + first + j;
      Vec sum = load(from);
      for (Index block = 1; block < blocks; block++) sum += load(from + block * p.m * stride);
      store(sums + i * tileWidth + j, sum);
    }
  }
  applyEpilogue(p.to, {sums, tileWidth, M, int(columns), row, first});
}

bool multiplyByRows(ThreadPool& pool, const Gemm& p) {
  const Index blocks = ceilDiv(p.k, blockRows);
  // Sums of rows that are a multiple of 4 KiB apart would compete for the same cache sets.
  const Index stride = (ceilDiv(p.n, W) + 1) * W;
  float* partial = pool.scratch(size_t(blocks * p.m * stride));
  if (partial == nullptr) return false;
  // With many threads, columns are divided too, in parts that are still long enough to stream.
  const Index columnsLeast = 512;
  const Index wanted = ceilDiv(2 * pool.threads(), blocks);
  const Index step = ceilDiv(ceilDiv(p.n, wanted), columnsLeast) * columnsLeast;
  const Index columnParts = ceilDiv(p.n, step);
  runTasks(pool, p, blocks * columnParts, [&](Index task) {
    const Index block = task / columnParts, k = block * blockRows, j = task % columnParts * step;
    const BlockPart part = {p.a + k, p.aRow, p.b + k * p.bRow + j, p.bRow, smaller(blockRows, p.k - k),
                            partial + block * p.m * stride + j, stride, smaller(step, p.n - j)};
    if (p.m == 1) sumBlock(part);
    else sumBlockOfRows(part, p.m);
  });
  const auto finishTile = [&](Index tile) {
    forGroups(p.m, [&]<int M>(Index row, Rows<M>) { finishSums<M>(p, partial, blocks, stride, row, tile * tileWidth); });
  };
  const Index tiles = ceilDiv(p.n, tileWidth);
  if (p.m > groupRows) runTasks(pool, p, tiles, finishTile);
  else for (Index tile = 0; tile < tiles; tile++) finishTile(tile);
  return true;
}

// ---- Columns of b are contiguous -------------------------------------------------------------------------------------------

// Approximate number of elements of b that a task reads.
constexpr Index taskNumbers = 1 << 18;

// Number of columns multiplied at once, for one row and for several, such that their sums fit in registers.
constexpr int columnsAtOnce = 4;
template <int M>
constexpr int columnsOfRows = W == 16 || M == 1 ? columnsAtOnce : 2;

// Number of rows that process a tile of columns before the next rows.
constexpr Index tileRows = 16;

// sums[i, j] for rows of a from `a` on and COLUMNS columns of b from `b` on. With `fetch` also prefetches the next columns: with
// several rows the processor by itself fetches them too late.
template <int M, int COLUMNS>
void multiplyColumns(const Gemm& p, const float* rows, const float* b, float* sums, bool fetch) {
  Vec sum[M][COLUMNS] = {};
  const Index ahead = columnsAtOnce * p.bCol;
  forVectors(p.k, [&](Index k, int count) {
    if (M > 1 && fetch && k % 16 == 0) {
#pragma GCC unroll 4
      for (int j = 0; j < COLUMNS; j++) __builtin_prefetch(b + j * p.bCol + k + ahead, 0, 2);
    }
    Vec a[M];
#pragma GCC unroll 4
    for (int i = 0; i < M; i++) a[i] = loadAny(rows + i * p.aRow + k, count);
#pragma GCC unroll 4
    for (int j = 0; j < COLUMNS; j++) {
      const Vec bv = loadAny(b + j * p.bCol + k, count);
#pragma GCC unroll 4
      for (int i = 0; i < M; i++) sum[i][j] = fma(a[i], bv, sum[i][j]);
    }
  });
  for (int i = 0; i < M; i++) {
    for (int j = 0; j < COLUMNS; j++) sums[i * tileWidth + j] = sumLanes(sum[i][j]);
  }
}

// Some rows of c and, of a tile, all columns from `first` on.
void multiplyTile(const Gemm& p, Index row, Index rows, Index first, Index columns) {
  alignas(64) float sums[tileRows * tileWidth] = {};
  const float* a = p.a + row * p.aRow;
  const float* b = p.b + first * p.bCol;
  const auto multiply = [&]<int COLUMNS>(Index j, Rows<COLUMNS>) {
    forGroups(rows, [&]<int M>(Index i, Rows<M>) {
      constexpr int count = COLUMNS < columnsOfRows<M> ? COLUMNS : columnsOfRows<M>;
      for (int c = 0; c < COLUMNS; c += count) {
        multiplyColumns<M, count>(p, a + i * p.aRow, b + (j + c) * p.bCol, sums + i * tileWidth + j + c, i == 0);
      }
    });
  };
  Index j = 0;
  for (; j + columnsAtOnce <= columns; j += columnsAtOnce) multiply(j, Rows<columnsAtOnce>{});
  for (; j < columns; j++) multiply(j, Rows<1>{});
  applyEpilogue(p.to, {sums, tileWidth, int(rows), int(columns), row, first});
}

void multiplyByColumns(ThreadPool& pool, const Gemm& p) {
  const Index step = ceilDiv(taskNumbers, p.k * tileWidth) * tileWidth;
  runTasks(pool, p, ceilDiv(p.n, step), [&](Index task) {
    const Index end = smaller((task + 1) * step, p.n);
    for (Index first = task * step; first < end; first += tileWidth) {
      const Index columns = smaller(tileWidth, end - first);
      for (Index row = 0; row < p.m; row += tileRows) multiplyTile(p, row, smaller(tileRows, p.m - row), first, columns);
    }
  });
}

}  // namespace

bool gemv(ThreadPool& pool, const Gemm& p) {
  if (p.bCol == 1) return multiplyByRows(pool, p);
  multiplyByColumns(pool, p);
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
