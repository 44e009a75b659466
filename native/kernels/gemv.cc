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

// With several groups, the columns of a block that all groups process before the next columns: their sums stay in L1, the numbers of b
// in L2.
constexpr Index stripColumns = 512;

// Some columns of the partial sums of one block.
struct BlockPart {
  const float* a;
  Index aRow;
  const float* b;
  Index bRow, rows;
  float* sums;
  Index stride, columns;

  BlockPart ofGroup(Index row) const { return {a + row * aRow, aRow, b, bRow, rows, sums + row * stride, stride, columns}; }
  BlockPart ofColumns(Index j, Index count) const { return {a, aRow, b + j, bRow, rows, sums + j, stride, count}; }
};

// sums [M, columns] += the product of ROWS columns of a and rows of b, from `k` on.
template <int M, Index ROWS>
void addRows(const BlockPart& p, Index k) {
  Vec factors[M][ROWS];
  for (int i = 0; i < M; i++) {
    for (Index r = 0; r < ROWS; r++) factors[i][r] = splat(p.a[i * p.aRow + k + r]);
  }
  const float* b = p.b + k * p.bRow;
  forVectors(p.columns, [&](Index j, int count) {
    Vec sum[M];
#pragma GCC unroll 4
    for (int i = 0; i < M; i++) sum[i] = loadAny(p.sums + i * p.stride + j, count);
#pragma GCC unroll 8
    for (Index r = 0; r < ROWS; r++) {
      const Vec bv = loadAny(b + r * p.bRow + j, count);
#pragma GCC unroll 4
      for (int i = 0; i < M; i++) sum[i] = fma(factors[i][r], bv, sum[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < M; i++) storeAny(p.sums + i * p.stride + j, sum[i], count);
  });
}

// Number of rows of b added in one pass over the sums, such that their factors for a group of rows of a fit in registers.
constexpr Index passRows = W == 16 ? 4 : 2;

// The partial sums [m, columns] of one block, ROWS of b at a time.
template <Index ROWS>
void sumBlock(const BlockPart& p, Index m) {
  for (Index i = 0; i < m; i++) __builtin_memset(p.sums + i * p.stride, 0, size_t(p.columns) * sizeof(float));
  Index k = 0;
  for (; k + ROWS <= p.rows; k += ROWS) {
    forGroups(m, [&]<int M>(Index row, Rows<M>) { addRows<M, ROWS>(p.ofGroup(row), k); });
  }
  for (; k < p.rows; k++) {
    forGroups(m, [&]<int M>(Index row, Rows<M>) { addRows<M, 1>(p.ofGroup(row), k); });
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
    if (p.m == 1) return sumBlock<8>(part, p.m);
    if (p.m <= groupRows) return sumBlock<passRows>(part, p.m);
    for (Index strip = 0; strip < part.columns; strip += stripColumns) {
      sumBlock<passRows>(part.ofColumns(strip, smaller(stripColumns, part.columns - strip)), p.m);
    }
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

// sums[i, j] for rows of a from `a` on and COLUMNS columns of b from `b` on.
template <int M, int COLUMNS>
void multiplyColumns(const Gemm& p, const float* rows, const float* b, float* sums) {
  Vec sum[M][COLUMNS] = {};
  forVectors(p.k, [&](Index k, int count) {
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
        multiplyColumns<M, count>(p, a + i * p.aRow, b + (j + c) * p.bCol, sums + i * tileWidth + j + c);
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
