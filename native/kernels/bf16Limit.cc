// The maximum rate of floating-point operations in products of bfloat16 numbers summed in float32, on the
// pool's unit. A multiply-add counts as two, as in fmaLimit.
#include "blockBf16.h"
#include "registerLimit.h"

namespace lockstep::LOCKSTEP_ISA {

double fmaLimit(ThreadPool& pool, double seconds);

namespace {

#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_DOTS)
constexpr int dotChains = 12;  // more than latency times throughput

__attribute__((target("avx512bf16"))) float runDots(int rounds, float seed) {
  __m512 x[dotChains];
  for (int c = 0; c < dotChains; c++) x[c] = splat(seed + float(c));
  const __m512bh factor = _mm512_cvtne2ps_pbh(splat(seed), splat(seed));
  for (int i = 0; i < rounds; i++) {
#pragma GCC unroll 16
    for (int c = 0; c < dotChains; c++) x[c] = _mm512_dpbf16_ps(x[c], factor, factor);
  }
  Vec sum = {};
  for (int c = 0; c < dotChains; c++) sum += x[c];
  return sumLanes(sum);
}
#endif

#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_TILES)
constexpr int tileChains = 4, tileFloats = 16 * 16;

// Four sums of two tiles by two, as in a product.
__attribute__((target("amx-tile,amx-bf16"))) float runTiles(int rounds, float seed) {
  const Bf16UnitInUse inUse(Bf16Unit::tiles);
  alignas(64) float numbers[tileFloats];
  for (float& number : numbers) number = seed;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  __asm__ volatile("" ::: "memory");  // the loads do not declare the memory they read
  _tile_loadd(4, numbers, 64);
  _tile_loadd(5, numbers, 64);
  _tile_loadd(6, numbers, 64);
  _tile_loadd(7, numbers, 64);
  for (int i = 0; i < rounds; i++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, numbers, 64);
  return numbers[0];
}
#endif

}  // namespace

double bf16Limit(ThreadPool& pool, double seconds) {
#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_TILES)
  if (pool.bf16Unit() == Bf16Unit::tiles) {
    constexpr int rounds = 4000;
    constexpr double operations = 2.0 * rounds * tileChains * tileFloats * 32;
    return registerLimit(pool, seconds, operations, [](float seed) { return runTiles(rounds, seed); });
  }
#endif
#if defined(__AVX512F__) && defined(LOCKSTEP_BF16_DOTS)
  if (pool.bf16Unit() == Bf16Unit::dots) {
    constexpr int rounds = 20000;
    constexpr double operations = 2.0 * rounds * dotChains * 2 * W;
    return registerLimit(pool, seconds, operations, [](float seed) { return runDots(rounds, seed); });
  }
#endif
  return fmaLimit(pool, seconds);  // without a special unit, products are float32 multiply-adds
}

}  // namespace lockstep::LOCKSTEP_ISA
