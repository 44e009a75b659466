// The gradients of attention, with the weights recomputed from the scores and their log-sum-exp, in the tiles of the
// forward pass. A block of queries processes its keys from first to last, so every sum has a fixed order.
#include "attentionBf16.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index blockKeys = 48;
static_assert(blockKeys % rowsUnit == 0);

struct Scratch {
  float *keyRows, *valueRows, *dkey, *dvalue;  // [T, width]
  float *queryRows, *doutRows, *dquery;        // [blockQueries, width]
  float *queryColumns, *doutColumns;           // [width, blockQueries]
  float *weights, *dscores;                    // [blockKeys, blockQueries]
  float *lse, *rest, *delta;                   // [blockQueries]

  Scratch(Carver& carver, const Head& head) {
    for (float** rows : {&keyRows, &valueRows, &dkey, &dvalue}) *rows = carver.take(head.rows * head.width);
    for (float** rows : {&queryRows, &doutRows, &dquery, &queryColumns, &doutColumns}) *rows = carver.take(blockQueries * head.width);
    for (float** tile : {&weights, &dscores}) *tile = carver.take(blockKeys * blockQueries);
    for (float** numbers : {&lse, &rest, &delta}) *numbers = carver.take(blockQueries);
  }
};

// One head: the start of its rows in the tensors, and of the next head's queries, null after the last.
struct HeadBackward {
  const Head& head;
  const Scratch& scratch;
  bool addsToKeys, endsKeys;  // whether it is not the first of the heads that share keys, and whether it is the last
  HeadRows<const float> from, next;
  const float *dout, *out;
  DenominatorLogs<const float> lse;
  HeadRows<float> to;

  void run() const {
    if (!addsToKeys) {
      gatherRows(from.key, head.strides.key, head.tk, head.rows, head.hs, scratch.keyRows, head.width);
      gatherRows(from.value, head.strides.key, head.tk, head.rows, head.hs, scratch.valueRows, head.width);
    }
    if (head.isRanged() && !addsToKeys) {
      for (float* sums : {scratch.dkey, scratch.dvalue}) __builtin_memset(sums, 0, size_t(head.rows * head.width) * sizeof(float));
    }
    for (Index i0 = 0; i0 < head.tq; i0 += head.queriesFrom(i0)) queriesFrom(i0);
    if (head.isRanged() && endsKeys) scatterKeyGradients(0, head.tk);
  }

  void queriesFrom(Index i0) const {
    const Index queries = head.queriesFrom(i0), stride = head.strides.query;
    const Index keysMost = head.keysEnd(i0, queries, rowsUnit);
    const bool last = endsKeys && !head.isRanged() && keysMost == head.tq;
    const Index firstKey = head.firstKey(i0, queries, rowsUnit);
    Prefetcher prefetcher = fetchAhead(i0, queries, keysMost - firstKey);
    gatherQueries(i0, queries);
    for (Index j0 = firstKey; j0 < keysMost; j0 += blockKeys) {
      const Block block = {i0, queries, firstKey, j0, smaller(blockKeys, keysMost - j0), addsToKeys, head, prefetcher};
      if (last) fetchKeyGradients(prefetcher, j0, block.keys);
      block.multiplyQueries(scratch.queryColumns, scratch.keyRows, scratch.weights);
      block.multiplyQueries(scratch.doutColumns, scratch.valueRows, scratch.dscores);
      for (Index q = 0; q < queries; q += W) scoreGradients(q, i0 + q, j0, block.firstReadFrom(q), block.keysReadFrom(q));
      block.sumOverKeys(scratch.dscores, scratch.keyRows, scratch.dquery);
      block.sumOverQueries(scratch.weights, scratch.doutRows, scratch.dvalue);
      block.sumOverQueries(scratch.dscores, scratch.queryRows, scratch.dkey);
      if (last) scatterKeyGradients(j0, block.keys);
    }
    if (last) scatterKeyGradients(0, firstKey);
    scatterRows(scratch.dquery, head.width, queries, head.hs, head.scale, to.query + i0 * stride, stride);
  }

  void gatherQueries(Index i0, Index queries) const {
    const Index hs = head.hs, c = head.c, width = head.width;
    gatherRows(from.query + i0 * head.strides.query, head.strides.query, queries, blockQueries, hs, scratch.queryRows, width);
    gatherRows(dout + i0 * c, c, queries, blockQueries, hs, scratch.doutRows, width);
    transposeRows(scratch.queryRows, width, queries, hs, head.scale * log2e, scratch.queryColumns);
    transposeRows(scratch.doutRows, width, queries, hs, 1, scratch.doutColumns);
    for (Index q = 0; q < queries; q++) {
      const float* row = out + (i0 + q) * c;
      Vec sum = {};
      forVectors(hs, [&](Index x, int count) { sum = fma(load(scratch.doutRows + q * width + x), loadAny(row + x, count), sum); });
      scratch.delta[q] = sumLanes(sum);
      scratch.lse[q] = lse.logs[i0 + q] * log2e;
      scratch.rest[q] = lse.rests[i0 + q] * log2e;
    }
    for (Index q = queries; q < roundUp(queries, W); q++) scratch.delta[q] = scratch.lse[q] = scratch.rest[q] = 0;
  }

  // For W queries from the block's q on, the first of which is i: turns scores into weights (0 where dropped, the others not yet
  // scaled for that) and the gradients of the weights into those of the scores.
  void scoreGradients(Index q, Index i, Index j0, Index from, Index keys) const {
    const Vec lseOfQuery = load(scratch.lse + q), rest = load(scratch.rest + q), delta = load(scratch.delta + q);
    const Vec dropoutScale = splat(head.dropout.scale);
    VecU elements = head.elementsFrom(i, j0 + from);
    float* weights = scratch.weights + q;
    float* dscores = scratch.dscores + q;
    const auto turn = [&](Index j, auto onlySeen) {
      const Vec weight = onlySeen(exp2(load(weights + j * blockQueries) - lseOfQuery - rest));
      const Vec dweight = onlySeen(load(dscores + j * blockQueries));
      if (head.drops()) {
        const VecI keeps = head.keeps(elements);
        elements += 1;
        store(weights + j * blockQueries, where(keeps, weight, Vec{}));
        store(dscores + j * blockQueries, weight * fma(where(keeps, dweight, Vec{}), dropoutScale, -delta));
      } else {
        store(weights + j * blockQueries, weight);
        store(dscores + j * blockQueries, weight * (dweight - delta));
      }
    };
    const SeenKeys seen(head, i);
    const Index checked = larger(from, seen.keysToCheck(j0, keys));
    // The end of the keys that all queries see.
    const Index common = larger(checked, smaller(keys, seen.common - j0));
    Index j = from;
    for (; j < checked; j++) turn(j, [&](Vec x) { return where(seen.see(j0 + j), x, Vec{}); });
    for (; j < common; j++) turn(j, [](Vec x) { return x; });
    for (; j < keys; j++) turn(j, [&](Vec x) { return where(seen.endAfter(j0 + j), x, Vec{}); });
  }

  void scatterKeyGradients(Index j0, Index keys) const {
    const Index stride = head.strides.key, sums = j0 * head.width;
    scatterRows(scratch.dkey + sums, head.width, keys, head.hs, head.scale, to.key + j0 * stride, stride);
    scatterRows(scratch.dvalue + sums, head.width, keys, head.hs, head.dropoutScale(), to.value + j0 * stride, stride);
  }

  // Prefetches the output of the block from i0 on, the input of the next block, and a share of the next head's input.
  Prefetcher fetchAhead(Index i0, Index queries, Index keys) const {
    constexpr Index size = sizeof(float);
    const Index c = head.c, stride = head.strides.query, bytes = head.hs * size, end = i0 + queries;
    const Index nextQueries = smaller(queries, head.tq - end);
    Prefetcher prefetcher;
    fetchHead(prefetcher, next, head, i0, queries);
    prefetcher.add(from.query + end * stride, stride * size, nextQueries, bytes);
    prefetcher.add(dout + end * c, c * size, nextQueries, bytes);
    prefetcher.add(out + end * c, c * size, nextQueries, bytes);
    prefetcher.add(to.query + i0 * stride, stride * size, queries, bytes, true);
    prefetcher.spread(4 * keys / Narrow::rows);
    return prefetcher;
  }

  void fetchKeyGradients(Prefetcher& prefetcher, Index j0, Index keys) const {
    constexpr Index size = sizeof(float);
    const Index stride = head.strides.key;
    for (float* part : {to.key, to.value}) prefetcher.add(part + j0 * stride, stride * size, keys, head.hs * size, true);
  }
};

}  // namespace

bool attentionBackward(ThreadPool& pool, const AttentionBackwardArguments& p) {
  if (p.query.bfloat16) return attentionBackwardBf16(pool, p);
  using Rows = HeadRows<const float>;
  const auto* dout = static_cast<const float*>(p.dout.data);
  const auto* out = static_cast<const float*>(p.out.data);
  const Index together = p.heads.perKvHead();
  return forHeads<Scratch>(pool, p, together, [&](const Head& head, const Scratch& scratch, Index task, bool hasNext) {
    HeadBackward{head,
                 scratch,
                 task % together > 0,
                 (task + 1) % together == 0,
                 Rows::of(p, task),
                 Rows::next(p, task, hasNext),
                 dout + head.inOut(),
                 out + head.inOut(),
                 DenominatorLogs<const float>::of(p.lse, p, task),
                 HeadRows<float>::of(head, p.dquery, p.dkey, p.dvalue)}
        .run();
  });
}

}  // namespace lockstep::LOCKSTEP_ISA
