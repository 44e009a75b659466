// Goto's algorithm: panels of b go through L1 while a block of a stays in L2, both packed into the order in which a tile of
// c, held in registers, reads them (https://www.cs.utexas.edu/~flame/pubs/GotoTOMS_revision.pdf). Contiguous rows of a are
// read in place. Contiguous rows of b are packed by the first tile that multiplies them; otherwise all threads pack b beforehand.
#include "gemm.h"

#include "gemmPacking.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// The register tile: MR rows of NV vectors. Their accumulators, the vectors of b and one of a fill the registers.
#if defined(__AVX512F__)
constexpr int MR = 14, NV = 2;
#elif defined(__AVX2__)
constexpr int MR = 6, NV = 2;
#elif defined(__aarch64__)
constexpr int MR = 8, NV = 3;
#else
constexpr int MR = 4, NV = 2;
#endif
constexpr int NR = NV * W;
// A panel's height is at most a vector or a multiple of it.
constexpr int heightUnit = MR > W ? W : 1;
// Contiguous rows of a are read in place, if there are not too many for the address registers.
#if defined(__aarch64__)
constexpr bool readsRows = false;
#else
constexpr bool readsRows = true;
#endif
constexpr Index KC = 8192 / NR < 384 ? 8192 / NR : 384;  // depth of a block: a panel of b is two thirds of L1
// Rows of a task: MC · KC floats of a stay in L2, with MC · NC sums. Without these, and if b is far away, more rows fit.
constexpr Index MC = 168 / MR * MR;
constexpr Index MCMost = W == 16 ? 28 * MR : MC;
constexpr Index NC = 512 / NR * NR;        // columns of a task
constexpr Index packedBFloats = 1 << 20;   // of b that are packed at once

constexpr size_t packedAFloats = size_t(MCMost) * (KC + W);
constexpr Index sumsStride = NC + W;  // not a multiple of 4 KiB: a tile's rows would share few lines of L1
constexpr size_t sumsFloats = size_t(MC) * sumsStride;

// Depth of all blocks of k except the last, which has the rest.
inline Index blockDepth(Index k) { return roundUp(ceilDiv(k, larger(1, ceilDiv(k, KC))), 8); }

// ---- The tile in registers -----------------------------------------------------------------------------------------------

// Rows of NR floats of b that are read soon and are prefetched into L2.
struct Ahead {
  const float* from;
  Index stride, rows;
};

struct Tile {
  Index depth;
  const float* a;  // [depth], rows of aStride; or [rows] along k, aStride apart
  Index aStride;
  const float* b;  // [depth], rows of NR; or of bStride where b lies, to be packed on the way
  Index bStride;
  float* packedB;
  Ahead ahead;
  float* c;
  Index ldc;
  int columns;        // of NV · W
  const float* bias;  // what the sums start from, or null
  bool accumulate;
};

// Iterates over columns of a with ROWS numbers: in a panel, or in rows in memory, where every third row has its own address.
template <int ROWS, bool PANEL>
struct ColumnsOfA {
  const float* at[PANEL ? 1 : (ROWS + 2) / 3];
  Index stride;

  explicit ColumnsOfA(const Tile& tile) : stride(tile.aStride) {
#pragma GCC unroll 16
    for (int i = 0; i < int(sizeof at / sizeof *at); i++) at[i] = tile.a + 3 * i * stride;
  }
  float row(int r) const { return PANEL ? at[0][r] : at[r / 3][r % 3 * stride]; }
  void advance() {
    if (PANEL) at[0] += stride;
    else {
#pragma GCC unroll 16
      for (const float*& p : at) p++;
    }
  }
};

// Number of steps in which data is prefetched, a few lines at a time: all at once would delay the loads of a.
constexpr int fetchSteps = 4;

// The loop over k is short enough for the processor's loop buffer; further unrolling makes it slower.
template <int ROWS, int VECTORS, bool PANEL, bool PACKS>
void multiplyTile(const Tile& tile) {
  Vec sum[ROWS][VECTORS];
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) {
    const Vec start = tile.bias == nullptr ? Vec{} : loadAny(tile.bias + v * W, int(smaller(tile.columns - v * W, W)));
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) sum[r][v] = start;
  }
  ColumnsOfA<ROWS, PANEL> a(tile);
  const float* b = tile.b;
  const Index bStride = PACKS ? tile.bStride : NR;
  float* packedB = tile.packedB;
  const float* ahead = tile.ahead.from;
  const float* c = tile.c;
  const Index steps = tile.depth / fetchSteps;
  const int aheadRows = int(tile.ahead.rows / fetchSteps);
#pragma GCC unroll 1
  for (int fetch = 0; fetch < fetchSteps; fetch++) {
    for (int i = 0; i < aheadRows; i++, ahead += tile.ahead.stride) {
      for (int column = 0; column < NR; column += 16) __builtin_prefetch(ahead + column, 0, 2);
    }
    for (int r = 0; r < ceilDiv(ROWS, fetchSteps); r++, c += tile.ldc) {
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) __builtin_prefetch(c + v * W, 1);
    }
    for (Index k = fetch + 1 < fetchSteps ? steps : tile.depth - (fetchSteps - 1) * steps; k > 0; k--, b += bStride) {
      Vec bv[VECTORS];
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) bv[v] = load(b + v * W);
      if constexpr (PACKS) {
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) store(packedB + v * W, bv[v]);
        packedB += NR;
      }
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; r++) {
        const Vec av = splat(a.row(r));
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sum[r][v] = fma(av, bv[v], sum[r][v]);
      }
      a.advance();
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) {
    const int columns = tile.columns - v * W;
    if (columns <= 0) break;
    float* c = tile.c + v * W;
    if (columns >= W) {
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; r++, c += tile.ldc) store(c, tile.accumulate ? load(c) + sum[r][v] : sum[r][v]);
    } else {
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; r++, c += tile.ldc) {
        storePart(c, tile.accumulate ? loadPart(c, columns) + sum[r][v] : sum[r][v], columns);
      }
    }
  }
}

using TileFunction = void (*)(const Tile&);

// at[rows - 1][vectors - 1], and for full tiles that pack b during the product.
template <bool PANEL>
struct TileFunctions {
  TileFunction at[MR][NV];
  TileFunction packing[MR];

  constexpr TileFunctions() : at(), packing() { fill<MR>(); }

  template <int ROWS>
  constexpr void fill() {
    at[ROWS - 1][0] = multiplyTile<ROWS, 1, PANEL, false>;
    at[ROWS - 1][1] = multiplyTile<ROWS, 2, PANEL, false>;
    if constexpr (NV > 2) at[ROWS - 1][NV - 1] = multiplyTile<ROWS, NV, PANEL, false>;
    packing[ROWS - 1] = multiplyTile<ROWS, NV, PANEL, true>;
    if constexpr (ROWS > 1) fill<ROWS - 1>();
  }
};
template <bool PANEL>
constexpr TileFunctions<PANEL> tileFunctions = {};

// ---- Blocks --------------------------------------------------------------------------------------------------------------

// A part of a product: all rows, some columns and some of k, with this part of b packed, one block of k after another and panel
// by panel in each; or with b where it lies, its rows contiguous.
struct Chunk {
  Index column, columns;
  Index k, depth, blockDepth;
  float* b;  // or null

  Index blocks() const { return ceilDiv(depth, blockDepth); }
  Index panels() const { return ceilDiv(columns, NR); }
  Index depthOf(Index block) const { return smaller(blockDepth, depth - block * blockDepth); }
  float* panel(Index block, Index panel) const { return b + (block * blockDepth * panels() + panel * depthOf(block)) * NR; }
};

void packPanelOfB(const Gemm& p, const Chunk& chunk, Index panel) {
  const Index column = chunk.column + panel * NR;
  const Index count = smaller(NR, chunk.column + chunk.columns - column);
  for (Index block = 0; block < chunk.blocks(); block++) {
    const Index k = chunk.k + block * chunk.blockDepth, depth = chunk.depthOf(block);
    float* to = chunk.panel(block, panel);
    packPanel<NR>({p.b + column * p.bCol + k * p.bRow, p.bCol, p.bRow, count, depth}, to);
    if (p.columnSums != nullptr) addPanelSums<NR>(to, depth, int(count), p.columnSums + column);
  }
}

// Rows and columns of c that one task computes.
struct Part {
  Index row, rows;
  Index column, columns;
};

// The columns of c of one panel of b, for all rows of a part.
struct Stripe {
  Index depth;
  const float* a;  // panels of `height` rows, panelStride apart
  Index panelStride, aStride;
  int height;
  const float* b;     // packed, or to be packed into packedB by the first tile
  Index bStride;
  float* packedB;     // or null
  const float* nextB;
  Index column;
  int columns;
  bool first;  // block of k
};

// Sums go directly to c if they are only added there, otherwise to `sums` until the part is complete.
template <bool PANEL>
void multiplyStripe(const Gemm& p, const Part& part, const Stripe& s, float* sums) {
  const Index column = part.column + s.column;
  const bool direct = p.to.plain();
  const Index aheadRows = roundUp(ceilDiv(s.depth * s.height, part.rows), fetchSteps);
  Tile tile = {.depth = s.depth, .a = s.a, .aStride = s.aStride, .b = s.b, .bStride = s.bStride, .packedB = s.packedB,
               .ahead = {s.nextB, s.bStride, aheadRows}, .c = nullptr, .ldc = direct ? p.to.ldc : sumsStride,
               .columns = direct ? s.columns : int(roundUp(s.columns, W)),
               .bias = direct && s.first && p.to.bias != nullptr ? p.to.bias + column : nullptr,
               .accumulate = direct ? p.to.accumulate || !s.first : !s.first};
  for (Index i = 0; i < part.rows; i += s.height) {
    const int rows = int(smaller(s.height, part.rows - i));
    tile.c = direct ? static_cast<float*>(p.to.c.data) + (part.row + i) * p.to.ldc + column : sums + i * sumsStride + s.column;
    if (i == 0 && s.packedB != nullptr) {
      tileFunctions<PANEL>.packing[rows - 1](tile);
      tile.b = s.packedB;
    } else {
      tileFunctions<PANEL>.at[rows - 1][ceilDiv(tile.columns, W) - 1](tile);
    }
    tile.a += s.panelStride;
    tile.ahead.from += aheadRows * s.bStride;
  }
}

// Multiplies over all k of a chunk.
void multiplyPart(const Gemm& p, const Chunk& chunk, const Part& part, float* workspace) {
  float* packedA = workspace;
  float* sums = packedA + packedAFloats;
  float* packedB = sums + sumsFloats;
  const bool inPlace = readsRows && p.aCol == 1;
  const int height = int(roundUp(ceilDiv(part.rows, ceilDiv(part.rows, MR)), heightUnit));
  const Index firstPanel = (part.column - chunk.column) / NR;
  for (Index block = 0; block < chunk.blocks(); block++) {
    const Index k = chunk.k + block * chunk.blockDepth, depth = chunk.depthOf(block);
    const float* a = p.a + part.row * p.aRow + k * p.aCol;
    const Index panelStride = inPlace ? height * p.aRow : height * depth + W;
    if (!inPlace) packPanels({a, p.aRow, p.aCol, part.rows, depth}, height, packedA, panelStride);
    for (Index j = 0; j < part.columns; j += NR) {
      const int columns = int(smaller(NR, part.columns - j));
      Stripe stripe = {depth, inPlace ? a : packedA, panelStride, inPlace ? p.aRow : height, height, nullptr, NR, nullptr, nullptr,
                       j, columns, k == 0};
      if (chunk.b != nullptr) {
        stripe.b = chunk.panel(block, firstPanel + j / NR);
        stripe.nextB = stripe.b + depth * NR;
      } else {
        const float* b = p.b + k * p.bRow + part.column + j;
        stripe.nextB = b + (j + NR < part.columns ? NR : depth * p.bRow - j);
        stripe.bStride = p.bRow;
        stripe.b = columns < NR ? packedB : b;
        if (columns < NR) packPanel<NR>({b, 1, p.bRow, columns, depth}, packedB);
        else stripe.packedB = packedB;
      }
      if constexpr (readsRows) {
        if (inPlace) multiplyStripe<false>(p, part, stripe, sums);
        else multiplyStripe<true>(p, part, stripe, sums);
      } else {
        multiplyStripe<true>(p, part, stripe, sums);
      }
      if (chunk.b == nullptr && p.columnSums != nullptr && part.row == 0) {
        addPanelSums<NR>(packedB, depth, columns, p.columnSums + part.column + j);
      }
    }
  }
  if (!p.to.plain()) applyEpilogue(p.to, {sums, sumsStride, int(part.rows), int(part.columns), part.row, part.column});
}

// ---- Threads -------------------------------------------------------------------------------------------------------------

// The division of a chunk's rows and columns into parts; each part is the task of one thread.
struct Grid {
  Index rowParts, columnParts;
};

// The division with the least work on the busiest thread. Costs are in multiply-adds of one vector: a part computes rows · columns · k
// of them over W, and packs rows · k numbers, each for about the price of four.
Grid chooseGrid(Index rows, Index rowsMost, Index columns, Index depth, int threads) {
  const Index columnPanels = ceilDiv(columns, NR);
  const Index rowsLeast = ceilDiv(rows, rowsMost), columnsLeast = ceilDiv(columns, NC);
  // More parts than threads compensate for interruptions, if there is enough work.
  const double work = double(rows) * double(columns) * double(depth);
  const Index partsMost = larger(rowsLeast * columnsLeast + threads - 1, work / threads > 4e6 ? Index(threads) * 3 : threads);
  Grid best = {rowsLeast, columnsLeast};
  double bestCost = 1e300;
  for (Index rowParts = rowsLeast; rowParts <= ceilDiv(rows, 4) && rowParts <= partsMost; rowParts++) {
    for (Index columnParts = columnsLeast; columnParts <= columnPanels && rowParts * columnParts <= partsMost; columnParts++) {
      const double partRows = double(ceilDiv(rows, rowParts));
      const double partColumns = double(ceilDiv(columnPanels, columnParts) * NR);
      const double part = partRows * (partColumns / W + 4) + 8 * partColumns / W + 3000.0 / double(depth);
      const double cost = part * double(ceilDiv(rowParts * columnParts, threads));
      if (cost < bestCost * (1 - 1e-9)) {
        bestCost = cost;
        best = {rowParts, columnParts};
      }
    }
  }
  return best;
}

void multiplyChunk(ThreadPool& pool, int threads, const Gemm& p, const Chunk& chunk) {
  const auto run = [&](Index tasks, auto body) {
    if (threads > 1) return parallelTasks(pool, tasks, body);
    for (Index task = 0; task < tasks; task++) body(task, 0);
  };
  if (chunk.b != nullptr) {
    const Index panelsAtOnce = larger(1, 16384 / (chunk.depth * NR));
    run(ceilDiv(chunk.panels(), panelsAtOnce), [&](Index task, int) {
      const Index end = smaller((task + 1) * panelsAtOnce, chunk.panels());
      for (Index panel = task * panelsAtOnce; panel < end; panel++) packPanelOfB(p, chunk, panel);
    });
  }
  // Rows that are a multiple of 4 KiB apart compete for the same cache sets.
  const bool crowded = p.aCol == 1 && p.aRow % 1024 == 0;
  const Index rowsMost = chunk.b == nullptr && p.to.plain() && !crowded ? MCMost : MC;
  const Grid grid = chooseGrid(p.m, rowsMost, chunk.columns, chunk.depth, threads);
  run(grid.rowParts * grid.columnParts, [&](Index task, int thread) {
    const Index i = task / grid.columnParts, j = task % grid.columnParts;
    const Index row = i * p.m / grid.rowParts, rowEnd = (i + 1) * p.m / grid.rowParts;
    const Index column = j * chunk.panels() / grid.columnParts * NR;
    const Index columnEnd = smaller((j + 1) * chunk.panels() / grid.columnParts * NR, chunk.columns);
    multiplyPart(p, chunk, {row, rowEnd - row, chunk.column + column, columnEnd - column},
                 static_cast<float*>(pool.workspace(thread)));
  });
}

}  // namespace

size_t gemmWorkspaceBytes() { return (packedAFloats + sumsFloats + KC * NR) * sizeof(float); }

bool gemm(ThreadPool& pool, const Gemm& p) {
  const Index depthOfBlock = blockDepth(p.k);
  // Below this size, handing over to other threads costs more than it saves.
  const int threads = double(p.m) * double(p.n) * double(p.k) < 2e5 ? 1 : pool.threads();
  if (p.bCol == 1) {
    multiplyChunk(pool, threads, p, {0, p.n, 0, p.k, depthOfBlock, nullptr});
    return true;
  }
  // If sums go directly to c, a long k can be divided; otherwise the epilogue waits for complete sums. The division does not depend on the number of threads.
  const Index depth = p.to.plain() ? smaller(p.k, 4 * depthOfBlock) : p.k;
  const Index columns = larger(NR, packedBFloats / depth / NR * NR);
  float* packedB = pool.scratch(size_t(roundUp(smaller(columns, p.n), NR) * smaller(depth, p.k)));
  if (packedB == nullptr) return false;
  for (Index j = 0; j < p.n; j += columns) {
    for (Index k = 0; k < p.k; k += depth) {
      multiplyChunk(pool, threads, p, {j, smaller(columns, p.n - j), k, smaller(depth, p.k - k), depthOfBlock, packedB});
    }
  }
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
