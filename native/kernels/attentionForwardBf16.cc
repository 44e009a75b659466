// The forward pass of attention on bfloat16 tensors: attentionForward.cc in blocks of the unit that multiplies them.
#include "attentionBf16.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index blockKeys = 128;
static_assert(blockKeys % side == 0);

struct Scratch {
  uint16_t* keyRows;          // for each 32 keys, their channels
  uint16_t* valueColumns;     // for each 32 channels, the keys
  uint16_t* queryColumns;     // of 32 queries
  float* scores;              // [blockKeys, 32]
  uint16_t* weights;          // [blockKeys / 2, 32, 2]
  float* sums;                // for each 32 channels, [32, 32]: channels, queries
  float* factors;             // [32]

  Scratch(Carver& carver, const Head& head) {
    const Index channels = blocksOf(head.hs), all = blocksOf(head.tk) * channels * blockFloats;
    for (uint16_t** panels : {&keyRows, &valueColumns}) *panels = takeBf16(carver, all);
    queryColumns = takeBf16(carver, channels * blockFloats);
    scores = carver.take(blockKeys * side);
    weights = takeBf16(carver, blockKeys * side);
    sums = carver.take(channels * blockFloats);
    factors = carver.take(side);
  }
};

// The running softmax of W queries; scores are powers of 2. The first maximum is finite: it may remain for some blocks of keys.
struct State {
  Vec maximum = splat(-__FLT_MAX__), sum = {};
};

// One head: the start of its rows in the tensors, and of the next head's, null after the last.
struct HeadForward {
  const Head& head;
  const Scratch& scratch;
  Bf16BlockFunction multiply;
  HeadRows<const uint16_t> from, next;
  uint16_t* out;
  DenominatorLogs<float> lse;

  void run() const {
    packRowsOf(from.key, head.strides.key, head.tk, head.hs, scratch.keyRows);
    packRowsTransposed(from.value, head.strides.key, head.tk, head.hs, scratch.valueColumns);
    for (Index i0 = 0; i0 < head.tq; i0 += side) queriesFrom(i0);
  }

  void queriesFrom(Index i0) const {
    const Index queries = smaller(side, head.tq - i0), stride = head.strides.query, channels = blocksOf(head.hs);
    const Index keysMost = roundUp(head.keysEnd(i0, queries, side), side), firstKey = head.firstKey(i0, queries, side);
    Prefetcher prefetcher = fetchAhead(i0, queries, keysMost - firstKey);
    State states[side / W];
    packColumnsOf(from.query + i0 * stride, stride, queries, head.hs, scratch.queryColumns);
    for (Index j0 = firstKey; j0 < keysMost; j0 += blockKeys) {
      const Index keys = smaller(blockKeys, keysMost - j0);
      for (Index j = 0; j < keys; j += side) {
        const uint16_t* rows = scratch.keyRows + (j0 + j) / side * channels * blockFloats;
        multiply({rows, side, blockFloats, scratch.queryColumns, int(channels), scratch.scores + j * side, false});
        prefetcher.step();
      }
      for (Index q = 0; q < side; q += W) softmax(q, i0 + q, j0, keys, j0 == firstKey, states[q / W]);
      for (Index x = 0; x < channels; x++) {
        const uint16_t* columns = scratch.valueColumns + (x * blocksOf(head.tk) + j0 / side) * blockFloats;
        multiply({columns, side, blockFloats, scratch.weights, int(keys / side), scratch.sums + x * blockFloats, j0 > firstKey});
      }
    }
    for (Index q = 0; q < queries; q += W) {
      const State& state = states[q / W];
      store(scratch.factors + q, splat(head.dropoutScale()) / state.sum);
      lse.store(i0 + q, DenominatorLog::of(state.maximum, state.sum), int(smaller(W, queries - q)));
    }
    scatterTransposed(scratch.sums, scratch.factors, queries, head.hs, out + i0 * head.c, head.c);
  }

  // Turns the scores of W queries from the block's q on, the first of which is i, into weights in pairs of keys, before they are divided
  // by their sum; rescales the queries' previous sums for the new maximum.
  void softmax(Index q, Index i, Index j0, Index keys, bool isFirst, State& state) const {
    float* scores = scratch.scores + q;
    uint16_t* weights = scratch.weights + 2 * q;
    const SeenKeys seen(head, i);
    const Index checked = roundUp(seen.keysToCheck(j0, keys), 4);
    // The end of the keys before the block of the queries, or of four keys at a time that all queries see.
    const Index common = larger(checked, smaller(keys, head.isRanged() ? (seen.common - j0) / 4 * 4 : i / side * side - j0));
    Vec most[4] = {splat(-__builtin_inff()), splat(-__builtin_inff()), splat(-__builtin_inff()), splat(-__builtin_inff())};
    for (Index j = 0; j < checked; j++) most[0] = max(most[0], where(seen.see(j0 + j), load(scores + j * side), most[0]));
    for (Index j = checked; j < common; j += 4) {
#pragma GCC unroll 4
      for (int n = 0; n < 4; n++) most[n] = max(most[n], load(scores + (j + n) * side));
    }
    for (Index j = common; j < keys; j++) most[0] = max(most[0], where(seen.endAfter(j0 + j), load(scores + j * side), most[0]));
    const Vec scale = splat(head.scale * log2e);
    const Vec maximum = max(state.maximum, max(max(most[0], most[1]), max(most[2], most[3])) * scale);
    VecU elements = head.elementsFrom(i, j0);
    Vec sum = {};
    const auto weigh = [&](Index j, auto onlySeen) {
      const Vec weight = onlySeen(exp2(fma(load(scores + j * side), scale, -maximum)), j);
      sum += weight;
      const Vec kept = head.drops() ? where(head.keeps(elements), weight, Vec{}) : weight;
      elements += 1;
      return roundedUpper(kept);
    };
    const auto keep = [&](Index j, auto onlySeen) {
      const VecU lower = weigh(j, onlySeen), upper = weigh(j + 1, onlySeen);
      storePairs(weights + j * side, pairOf(lower, upper));
    };
    for (Index j = 0; j < checked; j += 2) keep(j, [&](Vec x, Index key) { return where(seen.see(j0 + key), x, Vec{}); });
    for (Index j = checked; j < common; j += 2) keep(j, [](Vec x, Index) { return x; });
    for (Index j = common; j < keys; j += 2) keep(j, [&](Vec x, Index key) { return where(seen.endAfter(j0 + key), x, Vec{}); });
    const Vec correction = exp2(state.maximum - maximum);
    state = {maximum, fma(state.sum, correction, sum)};
    if (isFirst) return;
    float* row = scratch.sums + q;
    for (Index x = 0; x < blocksOf(head.hs) * side; x++, row += side) store(row, load(row) * correction);
  }

  // Prefetches the output of the block from i0 on, the input of the next block, and a share of the next head's input.
  Prefetcher fetchAhead(Index i0, Index queries, Index keys) const {
    constexpr Index size = sizeof(uint16_t);
    const Index c = head.c, stride = head.strides.query, bytes = head.hs * size, end = i0 + queries;
    Prefetcher prefetcher;
    fetchHead(prefetcher, next, head, i0, queries);
    prefetcher.add(from.query + end * stride, stride * size, smaller(queries, head.tq - end), bytes);
    prefetcher.add(out + i0 * c, c * size, queries, bytes, true);
    prefetcher.spread(blocksOf(keys));
    return prefetcher;
  }
};

}  // namespace

bool attentionForwardBf16(ThreadPool& pool, const AttentionForwardArguments& p) {
  using Rows = HeadRows<const uint16_t>;
  auto* out = static_cast<uint16_t*>(p.out.data);
  const Bf16BlockFunction multiply = bf16BlockFunction(pool.bf16Unit());
  return forHeads<Scratch>(pool, p, 1, [&](const Head& head, const Scratch& scratch, Index task, bool hasNext) {
    const Bf16UnitInUse inUse(pool.bf16Unit());
    const auto lse = DenominatorLogs<float>::of(p.lse, p, task);
    HeadForward{head, scratch, multiply, Rows::of(p, task), Rows::next(p, task, hasNext), out + head.inOut(), lse}.run();
  });
}

}  // namespace lockstep::LOCKSTEP_ISA
