// One function for each unit. Those of AVX512-BF16 and AMX are compiled for their instructions one by one, so that the rest of
// this file runs on any machine with AVX-512.
#include "blockBf16.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr int pairs = bf16Depth / 2;  // of a step

// ---- float32 multiply-adds -------------------------------------------------------------------------------------------------

// The two numbers of each pair, as float32.
inline Vec lowerOf(VecU pair) { return fromBits(pair << 16); }
inline Vec upperOf(VecU pair) { return fromBits(pair & splatU(0xffff0000u)); }

inline VecU loadPairs(const uint16_t* p) {
  VecU v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

inline VecU splatPair(const uint16_t* p) {
  uint32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return splatU(pair);
}

constexpr int widenedRows = W == 16 ? 8 : 4, widenedVectors = 2;

void widenedPart(const Bf16Block& block, int row, int column) {
  Vec sum[widenedRows][widenedVectors] = {};
  const uint16_t* a = block.a + row * block.aRow;
  const uint16_t* b = block.b + 2 * column;
  for (int step = 0; step < block.steps; step++, a += block.aStep) {
    for (int pair = 0; pair < pairs; pair++, b += 2 * bf16Side) {
      Vec lower[widenedVectors], upper[widenedVectors];
#pragma GCC unroll 2
      for (int v = 0; v < widenedVectors; v++) {
        const VecU both = loadPairs(b + 2 * W * v);
        lower[v] = lowerOf(both);
        upper[v] = upperOf(both);
      }
#pragma GCC unroll 8
      for (int r = 0; r < widenedRows; r++) {
        const VecU both = splatPair(a + r * block.aRow + 2 * pair);
        const Vec aLower = lowerOf(both), aUpper = upperOf(both);
#pragma GCC unroll 2
        for (int v = 0; v < widenedVectors; v++) sum[r][v] = fma(aUpper, upper[v], fma(aLower, lower[v], sum[r][v]));
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < widenedRows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < widenedVectors; v++) {
      float* to = block.sums + (row + r) * block.sumsRow + column + v * W;
      store(to, block.accumulate ? load(to) + sum[r][v] : sum[r][v]);
    }
  }
}

void multiplyWidened(const Bf16Block& block) {
  for (int row = 0; row < bf16Side; row += widenedRows) {
    for (int column = 0; column < bf16Side; column += widenedVectors * W) widenedPart(block, row, column);
  }
}

// ---- AVX512-BF16 -----------------------------------------------------------------------------------------------------------

#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_DOTS)
#define LOCKSTEP_WITH_DOTS __attribute__((target("avx512bf16")))

constexpr int dotRows = 8;

LOCKSTEP_WITH_DOTS void dotPart(const Bf16Block& block, int row) {
  __m512 sum[dotRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < dotRows; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
  const uint16_t* a = block.a + row * block.aRow;
  const uint16_t* b = block.b;
  for (int step = 0; step < block.steps; step++, a += block.aStep) {
    for (int pair = 0; pair < pairs; pair++, b += 2 * bf16Side) {
      const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b);
      const __m512bh b1 = (__m512bh)_mm512_loadu_si512(b + 2 * W);
#pragma GCC unroll 8
      for (int r = 0; r < dotRows; r++) {
        const __m512bh both = (__m512bh)splatPair(a + r * block.aRow + 2 * pair);
        sum[r][0] = _mm512_dpbf16_ps(sum[r][0], both, b0);
        sum[r][1] = _mm512_dpbf16_ps(sum[r][1], both, b1);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < dotRows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
      float* to = block.sums + (row + r) * block.sumsRow + v * W;
      store(to, block.accumulate ? load(to) + sum[r][v] : sum[r][v]);
    }
  }
}

LOCKSTEP_WITH_DOTS void multiplyDots(const Bf16Block& block) {
  for (int row = 0; row < bf16Side; row += dotRows) dotPart(block, row);
}
#endif

// ---- AMX -------------------------------------------------------------------------------------------------------------------

#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_TILES)
#define LOCKSTEP_WITH_TILES __attribute__((target("amx-tile,amx-bf16")))

constexpr int tileSide = 16;  // rows of a tile, and float32 or pairs in a row of it

// Four tiles of sums, two of a and two of b, all complete: palette 1 of the manual.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {tileSide, tileSide, tileSide, tileSide, tileSide, tileSide, tileSide, tileSide};
};
constinit const TileConfiguration tileConfiguration;

LOCKSTEP_WITH_TILES void configureTiles() { _tile_loadconfig(&tileConfiguration); }
LOCKSTEP_WITH_TILES void releaseTiles() { _tile_release(); }

LOCKSTEP_WITH_TILES void multiplyTiles(const Bf16Block& block) {
  constexpr int bStride = bf16Side * 2 * sizeof(uint16_t);
  const Index sumsStride = block.sumsRow * Index(sizeof(float));
  const Index aStride = block.aRow * Index(sizeof(uint16_t));
  float* sums = block.sums;
  float* lower = sums + tileSide * block.sumsRow;
  if (block.accumulate) {
    _tile_loadd(0, sums, sumsStride);
    _tile_loadd(1, sums + tileSide, sumsStride);
    _tile_loadd(2, lower, sumsStride);
    _tile_loadd(3, lower + tileSide, sumsStride);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint16_t* a = block.a;
  const uint16_t* b = block.b;
  for (int step = 0; step < block.steps; step++, a += block.aStep, b += bf16Depth * bf16Side) {
    _tile_loadd(6, b, bStride);
    _tile_loadd(4, a, aStride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + 2 * tileSide, bStride);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a + tileSide * block.aRow, aStride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, sumsStride);
  _tile_stored(1, sums + tileSide, sumsStride);
  _tile_stored(2, lower, sumsStride);
  _tile_stored(3, lower + tileSide, sumsStride);
}
#endif

}  // namespace

Bf16BlockFunction bf16BlockFunction([[maybe_unused]] Bf16Unit unit) {
#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_TILES)
  if (unit == Bf16Unit::tiles) return multiplyTiles;
#endif
#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_DOTS)
  if (unit == Bf16Unit::dots) return multiplyDots;
#endif
  return multiplyWidened;
}

Bf16UnitInUse::Bf16UnitInUse(Bf16Unit unit) : unit_(unit) {
#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_TILES)
  if (unit_ == Bf16Unit::tiles) configureTiles();
#endif
}

Bf16UnitInUse::~Bf16UnitInUse() {
#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_TILES)
  if (unit_ == Bf16Unit::tiles) releaseTiles();
#endif
}

}  // namespace lockstep::LOCKSTEP_ISA
