// A block of c is summed in the thread's workspace, one chunk of k after another. 32 columns of a chunk of b stay in L1 while the
// rows of a stream from L2. Rows of bfloat16 along k are read in place, without packing.
#include "gemmBf16.h"

#include "parallel.h"
#include "transpose.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index side = bf16Side;
constexpr Index chunkDepth = 256;  // 32 columns of b, 32 rows of a and their sums are 36 KiB
constexpr Index sumsOfBlock = side * side;

// The workspace of a thread: the sums of a part of c, and packed numbers.
constexpr Index blocksMost = 192;          // 768 KiB of sums
constexpr Index packedMost = 512 * 1024;   // numbers, 1 MiB
constexpr Index rowsMost = 512;            // of a in a part

inline Index paddedDepth(Index k) { return stepsBf16(k) * bf16Depth; }

struct Workspace {
  float* sums;
  uint16_t* packed;
  explicit Workspace(void* memory)
      : sums(static_cast<float*>(memory)), packed(reinterpret_cast<uint16_t*>(sums + blocksMost * sumsOfBlock)) {}
};

// Rows or columns of c, in panels.
struct Range {
  Index begin, end;
  Index panels() const { return ceilDiv(end - begin, side); }
};

// Part number `part` of `size` lines cut in parts of `panels` panels.
inline Range rangeOf(Index size, Index panels, Index part) {
  return {part * panels * side, smaller(size, (part + 1) * panels * side)};
}

// The epilogue of one block of sums.
void finish(const GemmBf16& p, const float* sums, Index row, Index column, bool transposed) {
  const int rows = int(smaller(side, p.m - row)), columns = int(smaller(side, p.n - column));
  if (!transposed) return applyEpilogue(p.to, {sums, side, rows, columns, row, column});
  alignas(64) float turned[sumsOfBlock];
  for (int i = 0; i < side; i += W) {
    for (int j = 0; j < side; j += W) transposeTile(sums + i * side + j, side, W, W, turned + j * side + i, side);
  }
  applyEpilogue(p.to, {turned, side, columns, rows, column, row});
}

// ---- Few columns, packed: a weight ---------------------------------------------------------------------------------------------

// A panel of rows in the layout that the blocks read.
struct RowPanel {
  const uint16_t* data;
  Index row, step;
};

// The panel in place or packed, for all k.
RowPanel rowPanel(const GemmBf16& p, Index row, uint16_t* packed) {
  const LinesBf16 lines = p.a.from(row, 0);
  const Index count = smaller(side, p.m - row);
  if (count == side && p.a.bfloat16 && p.a.depth == 1 && p.k % bf16Depth == 0) {
    return {static_cast<const uint16_t*>(lines.data), p.a.line, bf16Depth};
  }
  packRowsBf16({lines, count, p.k, packed, 0, nullptr});
  return {packed, bf16Depth, side * bf16Depth};
}

// Processes rows of a panel by panel, so that rows of c are written in order. A chunk of a's panel stays in L1, and
// all these columns of b in L2.
void multiplyRows(const GemmBf16& p, Bf16BlockFunction multiply, const uint16_t* b, Range rows, Range columns, void* memory) {
  const Workspace workspace(memory);
  const Index depth = paddedDepth(p.k);
  // The rows of the sums must not all compete for the same sets of L1.
  const Index sumsRow = columns.panels() * side + W;
  for (Index row = rows.begin; row < rows.end; row += side) {
    const RowPanel a = rowPanel(p, row, workspace.packed);
    for (Index k = 0; k < depth; k += chunkDepth) {
      const int steps = int(smaller(chunkDepth, depth - k) / bf16Depth);
      for (Index column = columns.begin; column < columns.end; column += side) {
        float* sums = workspace.sums + (column - columns.begin);
        multiply({a.data + k / bf16Depth * a.step, a.row, a.step, b + column * depth + k * side, steps, sums, k > 0, sumsRow});
      }
    }
    const int rowCount = int(smaller(side, rows.end - row)), columnCount = int(columns.end - columns.begin);
    applyEpilogue(p.to, {workspace.sums, sumsRow, rowCount, columnCount, row, columns.begin});
  }
}

// ---- Long sums -------------------------------------------------------------------------------------------------------------

// `a` is packed, in panels of all of k; b is packed here, chunk by chunk.
void multiplyLongSums(const GemmBf16& p, Bf16BlockFunction multiply, const uint16_t* a, Range rows, Range columns, bool transposed,
                      void* memory) {
  const Workspace workspace(memory);
  const Index depth = paddedDepth(p.k);
  for (Index k = 0; k < p.k; k += chunkDepth) {
    const Index chunk = smaller(chunkDepth, p.k - k);
    const int steps = int(stepsBf16(chunk));
    float* columnSums = p.columnSums != nullptr && rows.begin == 0 ? p.columnSums + columns.begin : nullptr;
    packColumnsBf16({p.b.from(columns.begin, k), columns.end - columns.begin, chunk, workspace.packed, chunkDepth * side, columnSums});
    float* sums = workspace.sums;
    for (Index column = 0; column < columns.panels(); column++) {
      for (Index row = 0; row < rows.panels(); row++, sums += sumsOfBlock) {
        const uint16_t* panel = a + (rows.begin + row * side) * depth + k * side;
        multiply({panel, bf16Depth, side * bf16Depth, workspace.packed + column * chunkDepth * side, steps, sums, k > 0});
      }
    }
  }
  const float* sums = workspace.sums;
  for (Index column = columns.begin; column < columns.end; column += side) {
    for (Index row = rows.begin; row < rows.end; row += side, sums += sumsOfBlock) finish(p, sums, row, column, transposed);
  }
}

// ---- Threads -------------------------------------------------------------------------------------------------------------

// Panels per part, at most `most`, so that each thread has a few parts, if there are enough panels.
Index panelsOfPart(Index panels, Index most, Index partsWanted) {
  const Index parts = larger(ceilDiv(panels, most), smaller(panels, partsWanted));
  return ceilDiv(panels, parts);
}

// Panels per part, at most `most`, which minimises the work of the busiest thread. The panels of each part come `rowParts`
// times, and a part costs half a panel more than its panels do.
Index evenPanels(Index panels, Index most, Index rowParts, int threads) {
  Index best = 1;
  double bestCost = 1e300;
  for (Index step = smaller(panels, most); step > 0; step--) {
    const double cost = double(ceilDiv(ceilDiv(panels, step) * rowParts, threads)) * (double(step) + 0.5);
    if (cost < bestCost) {
      bestCost = cost;
      best = step;
    }
  }
  return best;
}

uint16_t* packedScratch(ThreadPool& pool, Index lines, Index depth) {
  return reinterpret_cast<uint16_t*>(pool.scratch(size_t(ceilDiv(lines, side) * side * depth / 2)));
}

}  // namespace

size_t gemmBf16WorkspaceBytes() { return blocksMost * sumsOfBlock * sizeof(float) + packedMost * sizeof(uint16_t); }

bool gemmBf16(ThreadPool& pool, const GemmBf16& p) {
  const Index depth = paddedDepth(p.k);
  if (depth * side > packedMost) return gemmBf16LongSums(pool, p, false);
  uint16_t* b = packedScratch(pool, p.n, depth);
  if (b == nullptr) return false;
  const Index columnPanels = ceilDiv(p.n, side), rowPanels = ceilDiv(p.m, side);
  parallelRanges(pool, columnPanels, ceilDiv(16384, depth * side), 1, [&](Index begin, Index end, int) {
    const Range columns = {begin * side, smaller(p.n, end * side)};
    packColumnsBf16({p.b.from(columns.begin, 0), columns.end - columns.begin, p.k, b + columns.begin * depth, depth * side, nullptr});
  });

  const Index threads = pool.threads();
  const Index columnsMost = larger(1, smaller(blocksMost - 1, packedMost / (depth * side)));
  const Index rowStep = panelsOfPart(rowPanels, rowsMost / side, threads * 3);
  const Index rowParts = ceilDiv(rowPanels, rowStep);
  const Index columnStep = panelsOfPart(columnPanels, columnsMost, threads == 1 ? 1 : ceilDiv(threads * 3, rowParts));
  const Bf16BlockFunction multiply = bf16BlockFunction(pool.bf16Unit());
  parallelTasks(pool, rowParts * ceilDiv(columnPanels, columnStep), [&](Index task, int thread) {
    const Bf16UnitInUse inUse(pool.bf16Unit());
    multiplyRows(p, multiply, b, rangeOf(p.m, rowStep, task % rowParts), rangeOf(p.n, columnStep, task / rowParts),
                 pool.workspace(thread));
  });
  return true;
}

bool gemmBf16LongSums(ThreadPool& pool, const GemmBf16& p, bool transposed) {
  const Index depth = paddedDepth(p.k);
  uint16_t* a = packedScratch(pool, p.m, depth);
  if (a == nullptr) return false;
  const Index columnPanels = ceilDiv(p.n, side), rowPanels = ceilDiv(p.m, side);
  parallelRanges(pool, rowPanels, 1, 1, [&](Index begin, Index end, int) {
    const Range rows = {begin * side, smaller(p.m, end * side)};
    float* rowSums = p.rowSums == nullptr ? nullptr : p.rowSums + rows.begin;
    packRowsBf16({p.a.from(rows.begin, 0), rows.end - rows.begin, p.k, a + rows.begin * depth, depth * side, rowSums});
  });

  const Index rowStep = panelsOfPart(rowPanels, 32, 1);
  const Index rowParts = ceilDiv(rowPanels, rowStep);
  const Index columnsMost = smaller(blocksMost / rowStep, packedMost / (chunkDepth * side));
  const Index columnStep = evenPanels(columnPanels, columnsMost, rowParts, pool.threads());
  const Bf16BlockFunction multiply = bf16BlockFunction(pool.bf16Unit());
  parallelTasks(pool, rowParts * ceilDiv(columnPanels, columnStep), [&](Index task, int thread) {
    const Bf16UnitInUse inUse(pool.bf16Unit());
    multiplyLongSums(p, multiply, a, rangeOf(p.m, rowStep, task % rowParts), rangeOf(p.n, columnStep, task / rowParts), transposed,
                     pool.workspace(thread));
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
