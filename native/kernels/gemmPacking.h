// Packs matrices into the order in which the register tile reads them: panels of a few lines (rows of a, or columns of b), with
// the values of all lines for one k after another.
#pragma once

#include "transpose.h"

namespace lockstep::LOCKSTEP_ISA {

// `count` lines, line i at from + i · lineStride, its values kStride apart; one of the strides is 1.
struct Lines {
  const float* from;
  Index lineStride, kStride;
  Index count, depth;

  bool alongK() const { return kStride == 1 && lineStride != 1; }
  Lines startingAt(Index line) const { return {from + line * lineStride, lineStride, kStride, count - line, depth}; }
};

// Lines that are contiguous along k, at most `height` of them, as a panel: to[k · height + i].
static inline void packPanelAlongK(const Lines& lines, int height, float* to) {
  for (int line = 0; line < height; line += W) {
    const int rows = lines.count - line < W ? int(lines.count - line) : W;
    for (Index k = 0; k < lines.depth; k += W) {
      const int part = lines.depth - k < W ? int(lines.depth - k) : W;
      transposeTile(lines.from + line * lines.lineStride + k, lines.lineStride, rows, part, to + k * height + line, height);
    }
  }
}

// A panel of P lines, a multiple of W: to[k · P + i]. Lines beyond `count` are 0.
template <int P>
static inline void packPanel(const Lines& lines, float* to) {
  static_assert(P % W == 0);
  if (lines.alongK()) return packPanelAlongK(lines, P, to);
  const float* from = lines.from;
  if (lines.count >= P) {
    for (Index k = 0; k < lines.depth; k++, from += lines.kStride, to += P) {
#pragma GCC unroll 4
      for (int line = 0; line < P; line += W) store(to + line, load(from + line));
    }
    return;
  }
  const int count = int(lines.count);
  for (Index k = 0; k < lines.depth; k++, from += lines.kStride, to += P) {
    for (int line = 0; line < P; line += W) {
      store(to + line, count - line >= W ? load(from + line) : loadPart(from + line, count > line ? count - line : 0));
    }
  }
}

// Panels of `height` lines, panelStride floats apart: to[k · height + i] in each. `height` is at most W or a multiple of it. Complete
// vectors are written; the next k overwrites the excess, so each panel needs room for one more.
static inline void packPanels(const Lines& lines, int height, float* to, Index panelStride) {
  if (lines.alongK()) {
    for (Index first = 0; first < lines.count; first += height, to += panelStride) {
      packPanelAlongK(lines.startingAt(first), height, to);
    }
    return;
  }
  // All lines of each k in turn, as in memory.
  const Index whole = lines.count - W;
  for (Index k = 0; k < lines.depth; k++) {
    const float* from = lines.from + k * lines.kStride;
    float* panel = to + k * height;
    for (Index first = 0; first < lines.count; first += height, panel += panelStride) {
      for (int line = 0; line < height; line += W) {
        const Index i = first + line;
        store(panel + line, i <= whole ? load(from + i) : loadPart(from + i, i < lines.count ? int(lines.count - i) : 0));
      }
    }
  }
}

// sums[i] += the sum over k of line i of a packed panel of P lines, for the first `count`.
template <int P>
static inline void addPanelSums(const float* panel, Index depth, int count, float* sums) {
  Vec sum[P / W] = {};
  for (Index k = 0; k < depth; k++) {
#pragma GCC unroll 4
    for (int v = 0; v < P / W; v++) sum[v] += load(panel + k * P + v * W);
  }
  for (int v = 0; v * W < count; v++) {
    const int lanes = count - v * W < W ? count - v * W : W;
    storeAny(sums + v * W, loadAny(sums + v * W, lanes) + sum[v], lanes);
  }
}

}  // namespace lockstep::LOCKSTEP_ISA
