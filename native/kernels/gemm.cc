// The algorithm is Goto's: blocks of b stay in the outer caches and blocks of a in L2, both packed into the order in which a
// tile of c, held in registers, reads them (https://www.cs.utexas.edu/~flame/pubs/GotoTOMS_revision.pdf).
#include "gemm.h"

#include "parallel.h"
#include "transpose.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr int MR = tileRows, NV = tileVectors, NR = tileColumns;
constexpr Index KC = 384;  // depth of a block: a panel of b (KC · NR floats) stays in L1, or nearly so
constexpr Index MC = (252 + MR - 1) / MR * MR;  // rows of a block of a: MC · KC floats stay in L2
constexpr Index NC = 1536 / NR * NR;  // columns of a block of b
constexpr Index NCFew = 4 * NR;       // the same where few rows use the block: it stays in L2

constexpr size_t packedAFloats = size_t(MC + MR) * KC + 64;
constexpr size_t packedBFloats = size_t(NC + NR) * KC + 64;

inline Index ceilDiv(Index a, Index b) { return (a + b - 1) / b; }
inline Index smaller(Index a, Index b) { return a < b ? a : b; }

// Depth of every block but the last: the same for all of them, as far as it goes.
inline Index blockDepth(Index k) {
  const Index blocks = ceilDiv(k, KC);
  return ceilDiv(ceilDiv(k, blocks < 1 ? 1 : blocks), 8) * 8;
}

// ---- Packing -------------------------------------------------------------------------------------------------------------

// Packs `count` lines (rows of a, or columns of b) in panels of P lines: panel p holds, for each k, its P values one after
// another. Lines beyond `count` in the last panel are 0.
template <int P>
inline void packPanels(const float* from, Index lineStride, Index kStride, Index count, Index depth, float* to) {
  // A tile narrower than a vector is written with a whole one: what it writes too much, the next k overwrites.
  static_assert(P < W || P % W == 0);
  for (Index first = 0; first < count; first += P, to += P * depth) {
    const int lines = int(smaller(P, count - first));
    const float* panel = from + first * lineStride;
    if (kStride == 1 && lineStride != 1) {
      for (Index k = 0; k < depth; k += W) {
        const int part = int(smaller(W, depth - k));
        for (int line = 0; line < P; line += W) {
          const int rows = lines > line ? int(smaller(W, lines - line)) : 0;
          transposeTile(panel + line * lineStride + k, lineStride, rows, part, to + k * P + line, P);
        }
      }
    } else if (lines == P) {
      for (Index k = 0; k < depth; k++) __builtin_memcpy(to + k * P, panel + k * kStride, P * sizeof(float));
    } else {
      for (Index k = 0; k < depth; k++) {
        for (int line = 0; line < P; line++) to[k * P + line] = line < lines ? panel[k * kStride + line] : 0.0f;
      }
    }
  }
}

// ---- The tile in registers -----------------------------------------------------------------------------------------------

struct Tile {
  Index depth;
  const float* a;  // [depth][MR]
  const float* b;  // [depth], rows of bStride
  Index bStride;
  float* c;
  Index ldc;
  int columns;        // of NV · W
  const float* bias;  // or null
  bool accumulate;
};

template <int ROWS, int VECTORS>
void multiplyTile(const Tile& tile) {
  Vec sum[ROWS][VECTORS] = {};
  const float* a = tile.a;
  const float* b = tile.b;
  const Index bStride = tile.bStride;
  for (int r = 0; r < ROWS; r++) __builtin_prefetch(tile.c + r * tile.ldc, 1);
  for (Index k = tile.depth; k > 0; k--, a += MR, b += bStride) {
    __builtin_prefetch(a + MR * 8);  // b's panel is used again and again, a's only once
    Vec bv[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) bv[v] = load(b + v * W);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
      const Vec av = splat(a[r]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sum[r][v] = fma(av, bv[v], sum[r][v]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) {
    const int columns = tile.columns - v * W;
    if (columns <= 0) break;
    float* c = tile.c + v * W;
    if (columns >= W) {
      const Vec bias = tile.bias != nullptr ? load(tile.bias + v * W) : Vec{};
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; r++, c += tile.ldc) {
        Vec x = sum[r][v];
        if (tile.accumulate) x += load(c);
        if (tile.bias != nullptr) x += bias;
        store(c, x);
      }
    } else {
      const Vec bias = tile.bias != nullptr ? loadPart(tile.bias + v * W, columns) : Vec{};
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; r++, c += tile.ldc) {
        Vec x = sum[r][v];
        if (tile.accumulate) x += loadPart(c, columns);
        if (tile.bias != nullptr) x += bias;
        storePart(c, x, columns);
      }
    }
  }
}

using TileFunction = void (*)(const Tile&);

// tileFunctions[rows - 1][vectors - 1]
struct TileFunctions {
  TileFunction at[MR][NV];
};
template <int ROWS>
constexpr void fillTileFunctions(TileFunctions& functions) {
  functions.at[ROWS - 1][0] = multiplyTile<ROWS, 1>;
  functions.at[ROWS - 1][1] = multiplyTile<ROWS, 2>;
  if constexpr (NV > 2) functions.at[ROWS - 1][NV - 1] = multiplyTile<ROWS, NV>;
  if constexpr (ROWS > 1) fillTileFunctions<ROWS - 1>(functions);
}
constexpr TileFunctions makeTileFunctions() {
  TileFunctions functions = {};
  fillTileFunctions<MR>(functions);
  return functions;
}
constexpr TileFunctions tileFunctions = makeTileFunctions();

// ---- Blocks --------------------------------------------------------------------------------------------------------------

// A product whose sums go to c as they are: c = a · b + bias, or c +=.
struct Plain {
  Index m, n, k;
  const float* a;
  Index aRow, aCol;
  const float* b;
  Index bRow, bCol;
  float* c;
  Index ldc;
  const float* bias;
  bool accumulate;
};

struct Block {
  Index rows, columns, depth;
  const float* a;  // packed
  const float* b;  // packed
  float* c;
  Index ldc;
  const float* bias;
  bool accumulate;
};

void multiplyBlock(const Block& block) {
  for (Index j = 0; j < block.columns; j += NR) {
    const int columns = int(smaller(NR, block.columns - j));
    const int vectors = (columns + W - 1) / W;
    for (Index i = 0; i < block.rows; i += MR) {
      const int rows = int(smaller(MR, block.rows - i));
      const Tile tile = {block.depth,
                         block.a + i * block.depth,
                         block.b + j * block.depth,
                         NR,
                         block.c + i * block.ldc + j,
                         block.ldc,
                         columns,
                         block.bias == nullptr ? nullptr : block.bias + j,
                         block.accumulate};
      tileFunctions.at[rows - 1][vectors - 1](tile);
    }
  }
}

// One panel of rows (packed) uses each number of b only once: it is read where it lies, but for the columns that do not fill
// a tile, which are packed.
void multiplyUnpacked(const Plain& p, Index k, Index depth, const float* packedA, float* packedB) {
  for (Index j = 0; j < p.n; j += NR) {
    const float* b = p.b + k * p.bRow + j;
    const int columns = int(smaller(NR, p.n - j));
    if (columns < NR) packPanels<NR>(b, 1, p.bRow, columns, depth, packedB);
    const Tile tile = {depth,
                       packedA,
                       columns < NR ? packedB : b,
                       columns < NR ? NR : p.bRow,
                       p.c + j,
                       p.ldc,
                       columns,
                       k == 0 && p.bias != nullptr ? p.bias + j : nullptr,
                       p.accumulate || k > 0};
    tileFunctions.at[p.m - 1][(columns + W - 1) / W - 1](tile);
  }
}

void clear(const Plain& p) {
  for (Index i = 0; i < p.m; i++) {
    for (Index j = 0; j < p.n; j++) {
      p.c[i * p.ldc + j] = (p.accumulate ? p.c[i * p.ldc + j] : 0.0f) + (p.bias == nullptr ? 0.0f : p.bias[j]);
    }
  }
}

// ---- Threads -------------------------------------------------------------------------------------------------------------

// How c is cut into parts, each the task of one thread.
struct Grid {
  Index rowParts, columnParts;
};

// The cut with the least work on the busiest thread. Costs are in multiply-adds of one vector: a part computes rows · columns · k
// of them over W, and packs (rows + columns) · k numbers, each for about the price of one in four.
Grid chooseGrid(const Plain& p, int threads) {
  const Index rowPanels = ceilDiv(p.m, MR);
  const Index columnPanels = ceilDiv(p.n, NR);
  const double work = double(p.m) * double(p.n) * double(p.k);
  // Below this a hand-over costs more than it saves.
  if (threads == 1 || work < 2e5) return {1, 1};
  // More parts than threads even out interruptions, where there is enough work.
  const Index partsMost = work / threads > 4e6 ? Index(threads) * 3 : threads;
  Grid best = {1, 1};
  double bestCost = 1e300;
  for (Index rowParts = 1; rowParts <= rowPanels && rowParts <= partsMost; rowParts++) {
    for (Index columnParts = 1; columnParts <= columnPanels && rowParts * columnParts <= partsMost; columnParts++) {
      const double rows = double(ceilDiv(rowPanels, rowParts) * MR);
      const double columns = double(ceilDiv(columnPanels, columnParts) * NR);
      const double part = rows * columns / W + (rows + columns) * 0.25 + 3000.0 / double(p.k);
      const double cost = part * double(ceilDiv(rowParts * columnParts, threads));
      if (cost < bestCost * (1 - 1e-9)) {
        bestCost = cost;
        best = {rowParts, columnParts};
      }
    }
  }
  return best;
}

void multiplyPart(void* workspace, const Plain& p) {
  if (p.k <= 0) return clear(p);
  float* packedA = static_cast<float*>(workspace);
  float* packedB = packedA + packedAFloats;
  const Index depthMost = blockDepth(p.k);
  if (p.m <= MR && p.bCol == 1) {
    for (Index k = 0; k < p.k; k += depthMost) {
      const Index depth = smaller(depthMost, p.k - k);
      packPanels<MR>(p.a + k * p.aCol, p.aRow, p.aCol, p.m, depth, packedA);
      multiplyUnpacked(p, k, depth, packedA, packedB);
    }
    return;
  }
  const Index columnsMost = p.m <= MR ? NCFew : NC;
  for (Index j = 0; j < p.n; j += columnsMost) {
    const Index columns = smaller(columnsMost, p.n - j);
    for (Index k = 0; k < p.k; k += depthMost) {
      const Index depth = smaller(depthMost, p.k - k);
      packPanels<NR>(p.b + k * p.bRow + j * p.bCol, p.bCol, p.bRow, columns, depth, packedB);
      for (Index i = 0; i < p.m; i += MC) {
        const Index rows = smaller(MC, p.m - i);
        packPanels<MR>(p.a + i * p.aRow + k * p.aCol, p.aRow, p.aCol, rows, depth, packedA);
        multiplyBlock({rows, columns, depth, packedA, packedB, p.c + i * p.ldc + j, p.ldc,
                       k == 0 && p.bias != nullptr ? p.bias + j : nullptr, p.accumulate || k > 0});
      }
    }
  }
}

void multiply(ThreadPool& pool, const Plain& p) {
  const Grid grid = chooseGrid(p, pool.threads());
  const Index rowStep = ceilDiv(ceilDiv(p.m, MR), grid.rowParts) * MR;
  const Index columnStep = ceilDiv(ceilDiv(p.n, NR), grid.columnParts) * NR;
  parallelTasks(pool, grid.rowParts * grid.columnParts, [&](Index task, int thread) {
    const Index i = task % grid.rowParts * rowStep;
    const Index j = task / grid.rowParts * columnStep;
    if (i >= p.m || j >= p.n) return;
    Plain part = p;
    part.m = smaller(rowStep, p.m - i);
    part.n = smaller(columnStep, p.n - j);
    part.a += i * p.aRow;
    part.b += j * p.bCol;
    part.c += i * p.ldc + j;
    if (part.bias != nullptr) part.bias += j;
    multiplyPart(pool.workspace(thread), part);
  });
}

}  // namespace

void packRows(const float* a, Index rowStride, Index kStride, Index rows, Index depth, float* to) {
  packPanels<MR>(a, rowStride, kStride, rows, depth, to);
}

void packColumns(const float* b, Index columnStride, Index kStride, Index columns, Index depth, float* to) {
  packPanels<NR>(b, columnStride, kStride, columns, depth, to);
}

void multiplyRowPanel(const RowPanel& p) {
  const float* b = p.b;
  for (Index j = 0; j < p.columns; j += NR, b += p.bPanelStride) {
    const int columns = int(smaller(NR, p.columns - j));
    const Tile tile = {p.depth, p.a, b, NR, p.c + j, p.ldc, columns, nullptr, p.accumulate};
    tileFunctions.at[p.rows - 1][(columns + W - 1) / W - 1](tile);
  }
}

size_t gemmWorkspaceBytes() { return (packedAFloats + packedBFloats) * sizeof(float); }

bool gemm(ThreadPool& pool, const Gemm& p) {
  const Epilogue& to = p.to;
  if (to.plain()) {
    multiply(pool, {p.m, p.n, p.k, p.a, p.aRow, p.aCol, p.b, p.bRow, p.bCol, static_cast<float*>(to.c.data), to.ldc, to.bias,
                    to.accumulate});
    return true;
  }
  const Index ld = ceilDiv(p.n, W) * W;
  float* sums = pool.scratch(size_t(p.m * ld));
  if (sums == nullptr) return false;
  multiply(pool, {p.m, p.n, p.k, p.a, p.aRow, p.aCol, p.b, p.bRow, p.bCol, sums, ld, nullptr, false});
  parallelRanges(pool, p.m, 1 + 16384 / ld, 1, [&](Index begin, Index end, int) {
    applyEpilogue(to, {sums + begin * ld, ld, int(end - begin), int(p.n), begin, 0});
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
