// Multi-head attention in tiles of queries by keys, with the softmax kept as a running maximum and sum, so that no T x T
// matrix exists (FlashAttention: https://arxiv.org/abs/2205.14135). A block of queries is multiplied only with keys that at least one
// of its queries sees.
#include "attentionBf16.h"
#include "attentionDecode.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index blockKeys = 96;
static_assert(blockKeys % rowsUnit == 0);

struct Scratch {
  float *keyRows, *valueRows;  // [T, width]
  float* queryColumns;         // [width, blockQueries]
  float* weights;              // [blockKeys, blockQueries]
  float* sums;                 // [blockQueries, width]
  float* factors;              // [blockQueries]

  Scratch(Carver& carver, const Head& head) {
    for (float** rows : {&keyRows, &valueRows}) *rows = carver.take(head.rows * head.width);
    queryColumns = carver.take(head.width * blockQueries);
    weights = carver.take(blockKeys * blockQueries);
    sums = carver.take(blockQueries * head.width);
    factors = carver.take(blockQueries);
  }
};

// The running softmax of W queries; scores are powers of 2. The first maximum is finite: it may remain for some blocks of keys.
struct State {
  Vec maximum = splat(-__FLT_MAX__), sum = {};
};

// Turns the scores of W queries from i on with keys [from, keys) into weights 2^(score - maximum), 0 where a query does not see the key,
// before they are divided by their sum. Returns the factor for the queries' previous sums.
Vec softmax(const Head& head, float* weights, Index i, Index j0, Index from, Index keys, State& state) {
  const SeenKeys seen(head, i);
  const Index checked = larger(from, seen.keysToCheck(j0, keys));
  // The end of the keys that all queries see.
  const Index common = larger(checked, smaller(keys, seen.common - j0));
  Vec most[4] = {state.maximum, state.maximum, state.maximum, state.maximum};
  Index j = from;
  for (; j < checked; j++) most[0] = max(most[0], where(seen.see(j0 + j), load(weights + j * blockQueries), most[0]));
  for (; j + 4 <= common; j += 4) {
#pragma GCC unroll 4
    for (int n = 0; n < 4; n++) most[n] = max(most[n], load(weights + (j + n) * blockQueries));
  }
  for (; j < common; j++) most[0] = max(most[0], load(weights + j * blockQueries));
  for (; j < keys; j++) most[1] = max(most[1], where(seen.endAfter(j0 + j), load(weights + j * blockQueries), most[1]));
  const Vec maximum = max(max(most[0], most[1]), max(most[2], most[3]));
  Vec sum = {};
  VecU elements = head.elementsFrom(i, j0 + from);
  const auto weigh = [&](Index j) { return exp2(load(weights + j * blockQueries) - maximum); };
  const auto keep = [&](Index j, Vec weight) {
    sum += weight;
    store(weights + j * blockQueries, head.drops() ? where(head.keeps(elements), weight, Vec{}) : weight);
    elements += 1;
  };
  for (j = from; j < checked; j++) keep(j, where(seen.see(j0 + j), weigh(j), Vec{}));
  for (; j < common; j++) keep(j, weigh(j));
  for (; j < keys; j++) keep(j, where(seen.endAfter(j0 + j), weigh(j), Vec{}));
  const Vec correction = exp2(state.maximum - maximum);
  state = {maximum, fma(state.sum, correction, sum)};
  return correction;
}

// One head: the start of its rows in the tensors, and of the next head's, null after the last.
struct HeadForward {
  const Head& head;
  const Scratch& scratch;
  Index first;  // token: the one where the queries, `out` and `lse` begin; keys and values begin with token 0
  HeadRows<const float> from, next;
  float* out;
  DenominatorLogs<float> lse;  // or null

  void run() const {
    gatherRows(from.key, head.strides.key, head.tk, head.rows, head.hs, scratch.keyRows, head.width);
    gatherRows(from.value, head.strides.key, head.tk, head.rows, head.hs, scratch.valueRows, head.width);
    for (Index i0 = first; i0 < head.tq; i0 += head.queriesFrom(i0)) queriesFrom(i0);
  }

  void queriesFrom(Index i0) const {
    const Index queries = head.queriesFrom(i0), stride = head.strides.query;
    const Index keysMost = head.keysEnd(i0, queries, rowsUnit), firstKey = head.firstKey(i0, queries, rowsUnit);
    Prefetcher prefetcher = fetchAhead(i0, queries, keysMost - firstKey);
    State states[blockQueries / W];
    transposeRows(from.query + (i0 - first) * stride, stride, queries, head.hs, head.scale * log2e, scratch.queryColumns);
    for (Index j0 = firstKey; j0 < keysMost; j0 += blockKeys) {
      const Block block = {i0, queries, firstKey, j0, smaller(blockKeys, keysMost - j0), false, head, prefetcher};
      block.multiplyQueries(scratch.queryColumns, scratch.keyRows, scratch.weights);
      for (Index q = 0; q < queries; q += W) {
        const Vec correction = softmax(head, scratch.weights + q, i0 + q, j0, block.firstReadFrom(q), block.keysReadFrom(q), states[q / W]);
        if (j0 > firstKey) multiplySums(q, correction);
      }
      block.sumOverKeys(scratch.weights, scratch.valueRows, scratch.sums);
    }
    for (Index q = 0; q < queries; q += W) finish(i0 - first + q, q, int(smaller(W, queries - q)), states[q / W]);
  }

  void multiplySums(Index q, Vec factors) const {
    store(scratch.factors, factors);
    float* row = scratch.sums + q * head.width;
    for (int i = 0; i < W; i++, row += head.width) {
      const Vec factor = splat(scratch.factors[i]);
      for (Index x = 0; x < head.width; x += W) store(row + x, load(row + x) * factor);
    }
  }

  // Writes `count` rows from `row` on, whose sums are those of queries q, q + 1, ... of the block.
  void finish(Index row, Index q, int count, const State& state) const {
    store(scratch.factors, splat(head.dropoutScale()) / state.sum);
    if (lse.logs != nullptr) lse.store(row, DenominatorLog::of(state.maximum, state.sum), count);
    for (int i = 0; i < count; i++) {
      scatterRows(scratch.sums + (q + i) * head.width, head.width, 1, head.hs, scratch.factors[i], out + (row + i) * head.c, head.c);
    }
  }

  // Prefetches the output of the block from i0 on, the input of the next block, and a share of the next head's input.
  Prefetcher fetchAhead(Index i0, Index queries, Index keys) const {
    constexpr Index size = sizeof(float);
    const Index c = head.c, stride = head.strides.query, bytes = head.hs * size, end = i0 + queries;
    const Index row = i0 - first;
    Prefetcher prefetcher;
    fetchHead(prefetcher, next, head, row, queries);
    prefetcher.add(from.query + (row + queries) * stride, stride * size, smaller(queries, head.tq - end), bytes);
    prefetcher.add(out + row * c, c * size, queries, bytes, true);
    prefetcher.spread(keys / Narrow::rows + ceilDiv(keys, blockKeys) * queries / Narrow::rows);
    return prefetcher;
  }
};

}  // namespace

bool attentionForward(ThreadPool& pool, const AttentionForwardArguments& p) {
  if (p.query.bfloat16) return attentionForwardBf16(pool, p);
  using Rows = HeadRows<const float>;
  auto* out = static_cast<float*>(p.out.data);
  return forHeads<Scratch>(pool, p, 1, [&](const Head& head, const Scratch& scratch, Index task, bool hasNext) {
    HeadForward{head, scratch, 0, Rows::of(p, task), Rows::next(p, task, hasNext), out + head.inOut(),
                DenominatorLogs<float>::of(p.lse, p, task)}
        .run();
  });
}

bool attendInTiles(ThreadPool& pool, const AttentionDecodeArguments& p, Index sequence) {
  const CachedKeys& cache = p.sequences[sequence];
  const float* qkv = p.qkv + sequence * p.t * p.heads.qkvWidth();
  float* out = p.out + sequence * p.t * p.heads.c();
  AttentionForwardArguments whole = {};
  whole.tq = whole.tk = cache.position + p.t;
  whole.heads = p.heads;
  whole.strides = {p.heads.qkvWidth(), p.heads.kvWidth()};
  Carver size = {nullptr};
  Scratch(size, Head(whole, 0));
  float* memory = pool.scratch(size_t(size.used * pool.threads()));
  if (memory == nullptr) return false;
  parallelTasks(pool, p.heads.nHead, [&](Index task, int thread) {
    const Head head(whole, task);
    Carver carver = {memory + thread * size.used};
    const Scratch scratch(carver, head);
    const Index x = head.inKeys();
    const HeadRows<const float> from = {qkv + head.inQueries(), cache.keys + x, cache.values + x};
    HeadForward{head, scratch, cache.position, from, {}, out + head.inOut(), {}}.run();
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
