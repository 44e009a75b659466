#include "gemv.h"

#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// Below this a hand-over to other threads costs more than it saves.
constexpr Index sharedWorkLeast = 200'000;

// Runs the tasks on the pool, or all of them here if the product is small.
template <class Body>
void runTasks(ThreadPool& pool, const Gemm& p, Index tasks, Body body) {
  if (p.m * p.n * p.k >= sharedWorkLeast) return parallelTasks(pool, tasks, [&](Index task, int) { body(task); });
  for (Index task = 0; task < tasks; task++) body(task);
}

// Outputs that get their epilogue together.
constexpr Index tileWidth = 256;

// ---- Rows of b are contiguous ----------------------------------------------------------------------------------------------

// Rows of b are cut into blocks by k alone; each gives a partial sum of every output, and these are added in order. A block is
// read from its first byte to its last, which memory delivers faster than some columns of all rows.
constexpr Index blockRows = 96;

// Rows of b that are added to the sums in one pass over them: as many as leave their factors in registers.
template <int M>
constexpr Index passRows = M == 1 ? 8 : 4;

// Some columns of the partial sums of one block.
struct BlockPart {
  const float* a;
  Index aRow;
  const float* b;
  Index bRow, rows;
  float* sums;
  Index stride, columns;
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

template <int M>
void sumBlock(const BlockPart& p) {
  for (int i = 0; i < M; i++) __builtin_memset(p.sums + i * p.stride, 0, size_t(p.columns) * sizeof(float));
  Index k = 0;
  for (; k + passRows<M> <= p.rows; k += passRows<M>) addRows<M, passRows<M>>(p, k);
  for (; k < p.rows; k++) addRows<M, 1>(p, k);
}

// Adds the partial sums [blocks, M, stride] up and finishes them.
template <int M>
void finishSums(const Gemm& p, const float* partial, Index blocks, Index stride) {
  alignas(64) float sums[M * tileWidth];
  for (Index first = 0; first < p.n; first += tileWidth) {
    const Index columns = smaller(tileWidth, p.n - first);
    for (Index i = 0; i < M; i++) {
      for (Index j = 0; j < columns; j += W) {
        const float* from = partial + i * stride + first + j;
        Vec sum = load(from);
        for (Index block = 1; block < blocks; block++) sum += load(from + block * M * stride);
        store(sums + i * tileWidth + j, sum);
      }
    }
    applyEpilogue(p.to, {sums, tileWidth, M, int(columns), 0, first});
  }
}

template <int M>
bool multiplyByRows(ThreadPool& pool, const Gemm& p) {
  const Index blocks = ceilDiv(p.k, blockRows);
  const Index stride = ceilDiv(p.n, W) * W;
  float* partial = pool.scratch(size_t(blocks * M * stride));
  if (partial == nullptr) return false;
  // Where threads are many, columns are shared out as well, in parts that are still long enough to stream.
  const Index columnsLeast = 512;
  const Index wanted = ceilDiv(2 * pool.threads(), blocks);
  const Index step = ceilDiv(ceilDiv(p.n, wanted), columnsLeast) * columnsLeast;
  const Index columnParts = ceilDiv(p.n, step);
  runTasks(pool, p, blocks * columnParts, [&](Index task) {
    const Index block = task / columnParts, k = block * blockRows, j = task % columnParts * step;
    sumBlock<M>({p.a + k, p.aRow, p.b + k * p.bRow + j, p.bRow, smaller(blockRows, p.k - k),
                 partial + block * M * stride + j, stride, smaller(step, p.n - j)});
  });
  finishSums<M>(p, partial, blocks, stride);
  return true;
}

// ---- Columns of b are contiguous -------------------------------------------------------------------------------------------

// Numbers of b that a task reads, about.
constexpr Index taskNumbers = 1 << 18;

// Columns that are multiplied at once.
constexpr int columnsAtOnce = 4;

// sums[i, j] for COLUMNS columns of b from `b` on.
template <int M, int COLUMNS>
void multiplyColumns(const Gemm& p, const float* b, float* sums) {
  Vec sum[M][COLUMNS] = {};
  forVectors(p.k, [&](Index k, int count) {
    Vec a[M];
#pragma GCC unroll 4
    for (int i = 0; i < M; i++) a[i] = loadAny(p.a + i * p.aRow + k, count);
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

template <int M>
void multiplyByColumns(ThreadPool& pool, const Gemm& p) {
  const Index step = ceilDiv(taskNumbers, p.k * tileWidth) * tileWidth;
  runTasks(pool, p, ceilDiv(p.n, step), [&](Index task) {
    const Index end = smaller((task + 1) * step, p.n);
    alignas(64) float sums[M * tileWidth] = {};
    for (Index first = task * step; first < end; first += tileWidth) {
      const Index columns = smaller(tileWidth, end - first);
      const float* b = p.b + first * p.bCol;
      Index j = 0;
      for (; j + columnsAtOnce <= columns; j += columnsAtOnce) multiplyColumns<M, columnsAtOnce>(p, b + j * p.bCol, sums + j);
      for (; j < columns; j++) multiplyColumns<M, 1>(p, b + j * p.bCol, sums + j);
      applyEpilogue(p.to, {sums, tileWidth, M, int(columns), 0, first});
    }
  });
}

template <int M>
bool multiply(ThreadPool& pool, const Gemm& p) {
  if (p.bCol == 1) return multiplyByRows<M>(pool, p);
  multiplyByColumns<M>(pool, p);
  return true;
}

}  // namespace

bool gemv(ThreadPool& pool, const Gemm& p) {
  static_assert(gemvRowsMost == 4);
  switch (p.m) {
    case 1: return multiply<1>(pool, p);
    case 2: return multiply<2>(pool, p);
    case 3: return multiply<3>(pool, p);
    default: return multiply<4>(pool, p);
  }
}

}  // namespace lockstep::LOCKSTEP_ISA
