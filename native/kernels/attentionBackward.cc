// The gradients of causal attention, with the weights computed again from the scores and their log-sum-exp, in the tiles of the
// forward pass. A block of queries meets its keys from first to last, so that every sum has one order.
#include "attention.h"
#include "math.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index blockQueries = 64;
constexpr Index blockKeys = 32;
using BackwardBlock = Block<blockQueries>;

struct Scratch {
  float *keyRows, *valueRows, *dkey, *dvalue;  // [T, width]
  float *queryRows, *doutRows, *dquery;        // [blockQueries, width]
  float *queryColumns, *doutColumns;           // [HS, blockQueries]
  float *weights, *dscores;                    // [blockKeys, blockQueries]
  float *lse, *delta;                          // [blockQueries]

  Scratch(Carver& carver, const Head& head) {
    const Index keys = roundUp(head.t, R) * head.width;
    const Index queries = blockQueries * head.width;
    for (float** rows : {&keyRows, &valueRows, &dkey, &dvalue}) *rows = carver.take(keys);
    for (float** rows : {&queryRows, &doutRows, &dquery, &queryColumns, &doutColumns}) *rows = carver.take(queries);
    for (float** tile : {&weights, &dscores}) *tile = carver.take(blockKeys * blockQueries);
    for (float** numbers : {&lse, &delta}) *numbers = carver.take(blockQueries);
  }
};

// One head: where its rows begin in the tensors.
struct HeadBackward {
  const Head& head;
  const Scratch& scratch;
  const float *query, *dout, *out, *lse;
  float* dquery;

  void run() const {
    const Index t = head.t, c = head.c, stride = 3 * c, rows = roundUp(t, R);
    gatherRows(query + c, stride, t, rows, head.hs, scratch.keyRows, head.width);
    gatherRows(query + 2 * c, stride, t, rows, head.hs, scratch.valueRows, head.width);
    for (Index i0 = 0; i0 < t; i0 += blockQueries) queriesFrom(i0);
    scatterRows(scratch.dkey, head.width, t, head.hs, head.scale, dquery + c, stride);
    scatterRows(scratch.dvalue, head.width, t, head.hs, head.drops() ? head.dropout.scale : 1.0f, dquery + 2 * c, stride);
  }

  void queriesFrom(Index i0) const {
    const Index queries = smaller(blockQueries, head.t - i0);
    const Index keysMost = roundUp(i0 + queries, R);
    gatherQueries(i0, queries);
    for (Index j0 = 0; j0 < keysMost; j0 += blockKeys) {
      const BackwardBlock block = {i0, queries, j0, smaller(blockKeys, keysMost - j0)};
      block.multiplyQueries(scratch.queryColumns, scratch.keyRows, head.width, head.hs, scratch.weights);
      block.multiplyQueries(scratch.doutColumns, scratch.valueRows, head.width, head.hs, scratch.dscores);
      for (Index q = 0; q < queries; q += W) scoreGradients(q, i0 + q, j0, block.keysBefore(q + W));
      block.sumOverKeys(scratch.dscores, scratch.keyRows, head.width, scratch.dquery);
      block.sumOverQueries(scratch.weights, scratch.doutRows, head.width, scratch.dvalue);
      block.sumOverQueries(scratch.dscores, scratch.queryRows, head.width, scratch.dkey);
    }
    scatterRows(scratch.dquery, head.width, queries, head.hs, head.scale, dquery + i0 * 3 * head.c, 3 * head.c);
  }

  void gatherQueries(Index i0, Index queries) const {
    const Index hs = head.hs, c = head.c;
    gatherRows(query + i0 * 3 * c, 3 * c, queries, blockQueries, hs, scratch.queryRows, head.width);
    gatherRows(dout + i0 * c, c, queries, blockQueries, hs, scratch.doutRows, head.width);
    transposeRows(scratch.queryRows, head.width, queries, hs, scratch.queryColumns, blockQueries);
    transposeRows(scratch.doutRows, head.width, queries, hs, scratch.doutColumns, blockQueries);
    for (Index q = 0; q < queries; q++) {
      const float* row = out + (i0 + q) * c;
      Vec sum = {};
      forVectors(hs, [&](Index x, int count) {
        sum = fma(load(scratch.doutRows + q * head.width + x), loadAny(row + x, count), sum);
      });
      scratch.delta[q] = sumLanes(sum);
      scratch.lse[q] = lse[i0 + q] * log2e;
    }
    for (Index q = queries; q < roundUp(queries, W); q++) scratch.delta[q] = scratch.lse[q] = 0;
  }

  // For W queries from the block's q on, which is query i: turns scores into weights (0 where dropped, not yet scaled for that)
  // and the gradients of the weights into those of the scaled scores.
  void scoreGradients(Index q, Index i, Index j0, Index keys) const {
    const Vec scale = splat(head.scale * log2e), lseOfQuery = load(scratch.lse + q), delta = load(scratch.delta + q);
    const Vec dropoutScale = splat(head.dropout.scale);
    const VecU random = head.queryRandom(i);
    float* weights = scratch.weights + q;
    float* dscores = scratch.dscores + q;
    const auto weigh = [&](Index j) { return exp2(fma(load(weights + j * blockQueries), scale, -lseOfQuery)); };
    const auto keep = [&](Index j, Vec weight) {
      const Vec dweight = load(dscores + j * blockQueries);
      if (head.drops()) {
        const VecI keeps = head.keeps(random, j0 + j);
        store(weights + j * blockQueries, where(keeps, weight, Vec{}));
        store(dscores + j * blockQueries, weight * fma(where(keeps, dweight, Vec{}), dropoutScale, -delta));
      } else {
        store(weights + j * blockQueries, weight);
        store(dscores + j * blockQueries, weight * (dweight - delta));
      }
    };
    const Index common = larger(0, smaller(keys, i + 1 - j0));
    Index j = 0;
    for (; j < common; j++) keep(j, weigh(j));
    for (; j < keys; j++) keep(j, where(sees(i, j0 + j), weigh(j), Vec{}));
  }
};

}  // namespace

bool attentionBackward(ThreadPool& pool, const AttentionBackwardArguments& p) {
  Carver size = {nullptr};
  Scratch(size, Head(p, 0));
  float* memory = pool.scratch(size_t(size.used * pool.threads()));
  if (memory == nullptr) return false;
  parallelTasks(pool, p.b * p.nHead, [&](Index task, int thread) {
    const Head head(p, task);
    Carver carver = {memory + thread * size.used};
    const Scratch scratch(carver, head);
    HeadBackward{head,
                 scratch,
                 p.qkv + head.offset(3),
                 p.dout + head.offset(1),
                 p.out + head.offset(1),
                 p.lse + task * p.t,
                 p.dqkv + head.offset(3)}
        .run();
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
