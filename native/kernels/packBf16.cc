#include "packBf16.h"

#include "transpose.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr int stepPairs = bf16Depth / 2;

// The bfloat16 bits of each lane, in its lower half.
inline VecU roundedBits(Vec v) {
  const VecU bits = bitsOf(v);
  const VecU rounded = (bits + splatU(0x7fff) + ((bits >> 16) & splatU(1))) >> 16;
  return v == v ? rounded : (bits >> 16) | splatU(0x40);
}

inline VecU bitsAt(const float* p, int count) { return roundedBits(loadAny(p, count)); }
inline VecU bitsAt(const uint16_t* p, int count) { return bitsOf(loadAny(p, count)) >> 16; }

// The even lanes of two vectors one after another, or the odd ones.
template <int Odd, int... L>
inline VecU everySecond(VecU a, VecU b, std::integer_sequence<int, L...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (2 * L + Odd)...);
#else
  return __builtin_shuffle(a, b, VecU{uint32_t(2 * L + Odd)...});
#endif
}

// W pairs of adjacent numbers, of which `count` numbers exist.
inline VecU pairsAlong(const float* p, Index count) {
  const int first = count >= W ? W : count > 0 ? int(count) : 0;
  const int second = count >= 2 * W ? W : count > W ? int(count - W) : 0;
  const VecU a = first > 0 ? bitsAt(p, first) : VecU{}, b = second > 0 ? bitsAt(p + W, second) : VecU{};
  constexpr auto lanes = std::make_integer_sequence<int, W>();
  return everySecond<0>(a, b, lanes) | everySecond<1>(a, b, lanes) << 16;
}
inline VecU pairsAlong(const uint16_t* p, Index count) {
  VecU v = {};
  if (count >= 2 * W) __builtin_memcpy(&v, p, sizeof v);
  else if (count > 0) __builtin_memcpy(&v, p, size_t(count) * sizeof *p);
  return v;
}

// Lines of one type of number.
template <class T>
struct Lines {
  const T* data;
  Index line, depth;
  Index count, length;  // lines, and numbers in each

  // W pairs of line `i`, from number k.
  VecU alongLine(Index i, Index k) const {
    return i < count ? pairsAlong(data + i * line + k, length - k) : VecU{};
  }
  // The pair of numbers k and k + 1 of W lines from `i`; adds both to the sums.
  VecU acrossLines(Index i, Index k, float* sums) const {
    if (i >= count || k >= length) return VecU{};
    const int lanes = count - i < W ? int(count - i) : W;
    const VecU lower = bitsAt(data + i + k * depth, lanes);
    const VecU upper = k + 1 < length ? bitsAt(data + i + (k + 1) * depth, lanes) : VecU{};
    if (sums != nullptr) storeAny(sums + i, loadAny(sums + i, lanes) + fromBits(lower << 16) + fromBits(upper << 16), lanes);
    return lower | upper << 16;
  }
};

inline void transpose(VecU (&v)[W]) {
  Vec floats[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) floats[i] = fromBits(v[i]);
  transposeSteps<1>(floats);
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) v[i] = bitsOf(floats[i]);
}

inline void storePairs(uint16_t* p, VecU v) { __builtin_memcpy(p, &v, sizeof v); }

// The start of the panel of line i.
inline uint16_t* panelOf(const PackBf16& p, Index i) { return p.to + i / bf16Side * p.panelStride; }

inline uint16_t* rowsAt(const PackBf16& p, Index i, Index pair) {
  const Index step = pair / stepPairs;
  return panelOf(p, i) + ((step * bf16Side + i % bf16Side) * stepPairs + pair % stepPairs) * 2;
}

inline uint16_t* columnsAt(const PackBf16& p, Index i, Index pair) {
  return panelOf(p, i) + (pair * bf16Side + i % bf16Side) * 2;
}

inline Index wholePanels(Index count) { return roundUp(count, bf16Side); }

// Vectors of pairs as they are read, along a line (rows) or across lines (columns).
template <class T>
void packRowsAlong(const PackBf16& p, const Lines<T>& lines) {
  for (Index i = 0; i < wholePanels(p.count); i++) {
    for (Index pair = 0; pair < stepsBf16(p.depth) * stepPairs; pair += W) {
      storePairs(rowsAt(p, i, pair), lines.alongLine(i, 2 * pair));
    }
  }
}

template <class T>
void packColumnsAcross(const PackBf16& p, const Lines<T>& lines) {
  for (Index pair = 0; pair < stepsBf16(p.depth) * stepPairs; pair++) {
    for (Index i = 0; i < wholePanels(p.count); i += W) {
      storePairs(columnsAt(p, i, pair), lines.acrossLines(i, 2 * pair, p.sums));
    }
  }
}

// The other two layouts are these, with squares of W pairs transposed.
template <class T>
void packRowsAcross(const PackBf16& p, const Lines<T>& lines) {
  for (Index pair = 0; pair < stepsBf16(p.depth) * stepPairs; pair += W) {
    for (Index i = 0; i < wholePanels(p.count); i += W) {
      VecU v[W];
#pragma GCC unroll 16
      for (int lane = 0; lane < W; lane++) v[lane] = lines.acrossLines(i, 2 * (pair + lane), p.sums);
      transpose(v);
#pragma GCC unroll 16
      for (int lane = 0; lane < W; lane++) storePairs(rowsAt(p, i + lane, pair), v[lane]);
    }
  }
}

template <class T>
void packColumnsAlong(const PackBf16& p, const Lines<T>& lines) {
  for (Index i = 0; i < wholePanels(p.count); i += W) {
    for (Index pair = 0; pair < stepsBf16(p.depth) * stepPairs; pair += W) {
      VecU v[W];
#pragma GCC unroll 16
      for (int lane = 0; lane < W; lane++) v[lane] = lines.alongLine(i + lane, 2 * pair);
      transpose(v);
#pragma GCC unroll 16
      for (int lane = 0; lane < W; lane++) storePairs(columnsAt(p, i, pair + lane), v[lane]);
    }
  }
}

template <class T>
Lines<T> linesOf(const PackBf16& p) {
  return {static_cast<const T*>(p.lines.data), p.lines.line, p.lines.depth, p.count, p.depth};
}

template <class T>
void packRows(const PackBf16& p) {
  if (p.lines.line == 1) packRowsAcross(p, linesOf<T>(p));
  else packRowsAlong(p, linesOf<T>(p));
}

template <class T>
void packColumns(const PackBf16& p) {
  if (p.lines.line == 1) packColumnsAcross(p, linesOf<T>(p));
  else packColumnsAlong(p, linesOf<T>(p));
}

}  // namespace

void packRowsBf16(const PackBf16& p) {
  if (p.lines.bfloat16) packRows<uint16_t>(p);
  else packRows<float>(p);
}

void packColumnsBf16(const PackBf16& p) {
  if (p.lines.bfloat16) packColumns<uint16_t>(p);
  else packColumns<float>(p);
}

}  // namespace lockstep::LOCKSTEP_ISA
