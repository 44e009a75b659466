// The gradients of attention on bfloat16 tensors: attentionBackward.cc in blocks of the unit that multiplies them.
#include "attentionBf16.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// A block of queries has two panels.
constexpr Index panels = 2, queriesMost = panels * side;
constexpr Index blockKeys = 64;
constexpr Index pairsOfPanel = side * blockKeys;  // numbers of one panel's pairs of keys
static_assert(blockKeys % side == 0);

struct Scratch {
  uint16_t *keyRows, *valueRows;          // for each 32 keys, their channels
  uint16_t* keyColumns;                   // for each 32 channels, the keys
  float *dkey, *dvalue;                   // for each 32 keys and each 32 channels, [32, 32]
  uint16_t *queryColumns, *doutColumns;   // for each panel, pairs of channels
  uint16_t *queryPairs, *doutPairs;       // for each 32 channels, pairs of queries
  float* dquery;                          // for each panel and each 32 channels, [32, 32]: channels, queries
  float *scores, *dweights;               // for each panel, [blockKeys, 32]
  uint16_t *weightRows, *dscoreRows;      // [blockKeys, queries]: for each 2 W queries, pairs of the one and the other W
  uint16_t* dscorePairs;                  // for each panel, pairs of keys
  float *lse, *rest, *delta, *factors;    // [queries]

  Scratch(Carver& carver, const Head& head) {
    const Index channels = blocksOf(head.hs), all = blocksOf(head.tk) * channels * blockFloats;
    for (uint16_t** numbers : {&keyRows, &valueRows, &keyColumns}) *numbers = takeBf16(carver, all);
    for (float** sums : {&dkey, &dvalue}) *sums = carver.take(all);
    for (uint16_t** numbers : {&queryColumns, &doutColumns, &queryPairs, &doutPairs}) {
      *numbers = takeBf16(carver, panels * channels * blockFloats);
    }
    dquery = carver.take(panels * channels * blockFloats);
    for (float** products : {&scores, &dweights}) *products = carver.take(panels * blockKeys * side);
    for (uint16_t** numbers : {&weightRows, &dscoreRows, &dscorePairs}) *numbers = takeBf16(carver, panels * pairsOfPanel);
    for (float** numbers : {&lse, &rest, &delta, &factors}) *numbers = carver.take(queriesMost);
  }
};

// Rows of queries as the right factor of a sum over queries: for each 32 channels, for each 2 W queries, pairs of a number of the one
// W and of the other.
void packQueryPairs(const uint16_t* from, Index stride, Index queries, Index size, uint16_t* to) {
  for (Index x0 = 0; x0 < size; x0 += side) {
    for (Index q0 = 0; q0 < queriesMost; q0 += 2 * W) {
      for (Index q = q0; q < q0 + W; q++, to += 2 * side) {
        for (Index x = 0; x < side; x += W) {
          const int count = int(larger(0, smaller(W, size - x0 - x)));
          const auto row = [&](Index i) {
            return i < queries && count > 0 ? bitsOf(loadAny(from + i * stride + x0 + x, count)) : VecU{};
          };
          storePairs(to + 2 * x, pairOf(row(q), row(q + W)));
        }
      }
    }
  }
}

// One head: the start of its rows in the tensors, and of the next head's queries, null after the last.
struct HeadBackward {
  const Head& head;
  const Scratch& scratch;
  bool addsToKeys, endsKeys;  // whether it is not the first of the heads that share keys, and whether it is the last
  Bf16BlockFunction multiply;
  HeadRows<const uint16_t> from, next;
  const uint16_t *dout, *out;
  DenominatorLogs<const float> lse;
  HeadRows<uint16_t> to;

  Index channels() const { return blocksOf(head.hs); }

  void run() const {
    if (!addsToKeys) {
      packRowsOf(from.key, head.strides.key, head.tk, head.hs, scratch.keyRows);
      packRowsOf(from.value, head.strides.key, head.tk, head.hs, scratch.valueRows);
      packRowsTransposed(from.key, head.strides.key, head.tk, head.hs, scratch.keyColumns);
    }
    if (head.isRanged() && !addsToKeys) {
      const Index size = blocksOf(head.tk) * channels() * blockFloats;
      for (float* sums : {scratch.dkey, scratch.dvalue}) __builtin_memset(sums, 0, size_t(size) * sizeof(float));
    }
    for (Index i0 = 0; i0 < head.tq; i0 += queriesMost) queriesFrom(i0);
    if (head.isRanged() && endsKeys) scatterKeyGradients(0, head.tk);
  }

  void queriesFrom(Index i0) const {
    const Index queries = smaller(queriesMost, head.tq - i0), keysMost = roundUp(head.keysEnd(i0, queries, side), side);
    const bool last = endsKeys && !head.isRanged() && i0 + queries == head.tq;
    const Index firstKey = head.firstKey(i0, queries, side);
    Prefetcher prefetcher = fetchAhead(i0, queries, keysMost - firstKey);
    packQueries(i0, queries);
    for (Index j0 = firstKey; j0 < keysMost; j0 += blockKeys) {
      const Index keys = smaller(blockKeys, keysMost - j0);
      for (Index panel = 0; panel * side < queries; panel++) {
        const Index i = i0 + panel * side, seen = head.isRanged() ? keys : larger(0, smaller(keys, i + side - j0));
        for (Index j = 0; j < seen; j += side) {
          multiplyPanel(scratch.keyRows, scratch.queryColumns, panel, j0 + j, scratch.scores + (panel * blockKeys + j) * side);
          multiplyPanel(scratch.valueRows, scratch.doutColumns, panel, j0 + j, scratch.dweights + (panel * blockKeys + j) * side);
          prefetcher.step();
        }
        for (Index q = 0; q < side; q += 2 * W) scoreGradients(panel, q, i, j0, seen);
        if (seen > 0) sumOverKeys(panel, j0, seen, j0 > firstKey);
      }
      for (Index j = 0; j < keys; j += side) sumOverQueries(i0, queries, j0, j);
      if (last) scatterKeyGradients(j0, smaller(keys, head.tk - j0));
    }
    if (last) scatterKeyGradients(0, firstKey);
    for (Index q = 0; q < side; q++) scratch.factors[q] = head.scale;
    for (Index q = 0; q < queries; q += side) {
      scatterTransposed(scratch.dquery + q / side * channels() * blockFloats, scratch.factors, smaller(side, queries - q), head.hs,
                        to.query + (i0 + q) * head.strides.query, head.strides.query);
    }
  }

  void packQueries(Index i0, Index queries) const {
    const Index hs = head.hs, c = head.c;
    const Index stride = head.strides.query;
    const uint16_t *queryRows = from.query + i0 * stride, *doutRows = dout + i0 * c;
    packColumnsOf(queryRows, stride, queries, hs, scratch.queryColumns);
    packColumnsOf(doutRows, c, queries, hs, scratch.doutColumns);
    packQueryPairs(queryRows, stride, queries, hs, scratch.queryPairs);
    packQueryPairs(doutRows, c, queries, hs, scratch.doutPairs);
    for (Index q = 0; q < queriesMost; q++) {
      Vec sum = {};
      if (q < queries) {
        forVectors(hs, [&](Index x, int count) {
          sum = fma(loadAny(doutRows + q * c + x, count), loadAny(out + (i0 + q) * c + x, count), sum);
        });
      }
      scratch.delta[q] = sumLanes(sum);
      scratch.lse[q] = q < queries ? lse.logs[i0 + q] * log2e : 0;
      scratch.rest[q] = q < queries ? lse.rests[i0 + q] * log2e : 0;
    }
  }

  // products[key][query] of 32 keys from j on and a panel's queries.
  void multiplyPanel(const uint16_t* rows, const uint16_t* columns, Index panel, Index j, float* products) const {
    multiply({rows + j / side * channels() * blockFloats, side, blockFloats, columns + panel * channels() * blockFloats,
              int(channels()), products, false});
  }

  // For 2 W queries from the panel's q on, turns scores and the gradients of weights into weights (0 where dropped, the others not yet
  // scaled for that) and the gradients of scores, rounded, as the sums read them. The panel's first query is i.
  void scoreGradients(Index panel, Index q, Index i, Index j0, Index keys) const {
    const Index first = panel * side + q;
    const float* scores = scratch.scores + panel * blockKeys * side + q;
    const float* dweights = scratch.dweights + panel * blockKeys * side + q;
    uint16_t* weightRow = scratch.weightRows + first;
    uint16_t* dscoreRow = scratch.dscoreRows + first;
    uint16_t* dscorePair = scratch.dscorePairs + panel * pairsOfPanel + 2 * q;
    const Vec scale = splat(head.scale * log2e), dropoutScale = splat(head.dropout.scale);
    const Vec lseOf[2] = {load(scratch.lse + first), load(scratch.lse + first + W)};
    const Vec rest[2] = {load(scratch.rest + first), load(scratch.rest + first + W)};
    const Vec delta[2] = {load(scratch.delta + first), load(scratch.delta + first + W)};
    VecU elements[2] = {head.elementsFrom(i + q, j0), head.elementsFrom(i + q + W, j0)};
    const auto turn = [&](Index j, auto onlySeen) {
      VecU dscore[2][2];
#pragma GCC unroll 2
      for (Index key = 0; key < 2; key++) {
        VecU weight[2];
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
          const Index at = (j + key) * side + v * W;
          Vec kept = onlySeen(exp2(fma(load(scores + at), scale, -lseOf[v]) - rest[v]), j + key, v);
          const Vec full = kept;
          Vec dweight = load(dweights + at);
          if (head.drops()) {
            const VecI keeps = head.keeps(elements[v]);
            elements[v] += 1;
            kept = where(keeps, kept, Vec{});
            dweight = where(keeps, dweight, Vec{}) * dropoutScale;
          }
          weight[v] = roundedUpper(kept);
          dscore[key][v] = roundedUpper(full * (dweight - delta[v]));
        }
        storePairs(weightRow + (j + key) * queriesMost, pairOf(weight[0], weight[1]));
        storePairs(dscoreRow + (j + key) * queriesMost, pairOf(dscore[key][0], dscore[key][1]));
      }
#pragma GCC unroll 2
      for (int v = 0; v < 2; v++) storePairs(dscorePair + j * side + 2 * v * W, pairOf(dscore[0][v], dscore[1][v]));
    };
    const SeenKeys seen[2] = {{head, i + q}, {head, i + q + W}};
    const Index checked = roundUp(larger(seen[0].keysToCheck(j0, keys), seen[1].keysToCheck(j0, keys)), 2);
    // The end of the keys before the panel's queries, or of pairs that all of the 2 W see.
    const Index before = head.isRanged() ? (smaller(seen[0].common, seen[1].common) - j0) / 2 * 2 : i - j0;
    const Index common = larger(checked, smaller(keys, before));
    for (Index j = 0; j < checked; j += 2) {
      turn(j, [&](Vec x, Index key, int v) {
        return where(seen[v].see(j0 + key), x, Vec{});
      });
    }
    for (Index j = checked; j < common; j += 2) turn(j, [](Vec x, Index, int) { return x; });
    for (Index j = common; j < keys; j += 2) {
      turn(j, [&](Vec x, Index key, int v) { return where(seen[v].endAfter(j0 + key), x, Vec{}); });
    }
  }

  // dquery of a panel = or += Σ over keys from j0 on.
  void sumOverKeys(Index panel, Index j0, Index keys, bool accumulate) const {
    for (Index x = 0; x < channels(); x++) {
      multiply({scratch.keyColumns + (x * blocksOf(head.tk) + j0 / side) * blockFloats, side, blockFloats,
                scratch.dscorePairs + panel * pairsOfPanel, int(keys / side), scratch.dquery + (panel * channels() + x) * blockFloats,
                accumulate});
    }
  }

  // dkey and dvalue of 32 keys from j0 + j on = or += Σ over the panels that see them. The first block of queries that sees a key assigns,
  // unless it adds to the sums of another head or has ranges: then the sums begin as zeros.
  void sumOverQueries(Index i0, Index queries, Index j0, Index j) const {
    const Index panel = head.isRanged() ? 0 : larger(0, (j0 + j - i0) / side), from = panel * side;
    const int steps = int(blocksOf(queries) - panel);
    const bool accumulate = addsToKeys || head.isRanged() || j0 + j < i0;
    for (Index x = 0; x < channels(); x++) {
      const Index sums = ((j0 + j) / side * channels() + x) * blockFloats;
      const Index columns = (x * panels + panel) * blockFloats, row = j * queriesMost + from;
      multiply({scratch.weightRows + row, queriesMost, side, scratch.doutPairs + columns, steps, scratch.dvalue + sums, accumulate});
      multiply({scratch.dscoreRows + row, queriesMost, side, scratch.queryPairs + columns, steps, scratch.dkey + sums, accumulate});
    }
  }

  void scatterKeyGradients(Index j0, Index keys) const {
    for (Index j = j0; j < j0 + keys; j++) {
      const Index sums = j / side * channels() * blockFloats + j % side * side, row = j * head.strides.key;
      for (Index x0 = 0; x0 < head.hs; x0 += side) {
        forVectors(smaller(side, head.hs - x0), [&](Index x, int count) {
          const Index at = sums + x0 * side + x;
          storeAny(to.key + row + x0 + x, load(scratch.dkey + at) * splat(head.scale), count);
          storeAny(to.value + row + x0 + x, load(scratch.dvalue + at) * splat(head.dropoutScale()), count);
        });
      }
    }
  }

  // Prefetches the output of the block from i0 on, the input of the next block, and a share of the next head's input.
  Prefetcher fetchAhead(Index i0, Index queries, Index keys) const {
    constexpr Index size = sizeof(uint16_t);
    const Index c = head.c, stride = head.strides.query, bytes = head.hs * size, end = i0 + queries;
    const Index nextQueries = smaller(queries, head.tq - end);
    Prefetcher prefetcher;
    fetchHead(prefetcher, next, head, i0, queries);
    prefetcher.add(from.query + end * stride, stride * size, nextQueries, bytes);
    prefetcher.add(dout + end * c, c * size, nextQueries, bytes);
    prefetcher.add(out + end * c, c * size, nextQueries, bytes);
    prefetcher.add(to.query + i0 * stride, stride * size, queries, bytes, true);
    for (uint16_t* part : {to.key, to.value}) {
      prefetcher.add(part + i0 * head.strides.key, head.strides.key * size, smaller(queries, head.tk - i0), bytes, true);
    }
    prefetcher.spread(panels * blocksOf(keys));
    return prefetcher;
  }
};

}  // namespace

bool attentionBackwardBf16(ThreadPool& pool, const AttentionBackwardArguments& p) {
  using Rows = HeadRows<const uint16_t>;
  const auto* dout = static_cast<const uint16_t*>(p.dout.data);
  const auto* out = static_cast<const uint16_t*>(p.out.data);
  const Bf16BlockFunction multiply = bf16BlockFunction(pool.bf16Unit());
  const Index together = p.heads.perKvHead();
  return forHeads<Scratch>(pool, p, together, [&](const Head& head, const Scratch& scratch, Index task, bool hasNext) {
    const Bf16UnitInUse inUse(pool.bf16Unit());
    HeadBackward{head,
                 scratch,
                 task % together > 0,
                 (task + 1) % together == 0,
                 multiply,
                 Rows::of(p, task),
                 Rows::next(p, task, hasNext),
                 dout + head.inOut(),
                 out + head.inOut(),
                 DenominatorLogs<const float>::of(p.lse, p, task),
                 HeadRows<uint16_t>::of(head, p.dquery, p.dkey, p.dvalue)}
        .run();
  });
}

}  // namespace lockstep::LOCKSTEP_ISA
