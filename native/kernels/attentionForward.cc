// Causal multi-head attention in tiles of queries by keys, with the softmax kept as a running maximum and sum, so that no T x T
// matrix exists (FlashAttention: https://arxiv.org/abs/2205.14135). A block of queries is multiplied with those keys only that some
// query of it sees.
#include <math.h>

#include "attention.h"
#include "math.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index blockQueries = 32;
constexpr Index blockKeys = 128;
using ForwardBlock = Block<blockQueries>;

struct Scratch {
  float *keyRows, *valueRows;  // [T, width]
  float* queryColumns;         // [HS, blockQueries]
  float* weights;              // [blockKeys, blockQueries]
  float* sums;                 // [blockQueries, width]

  Scratch(Carver& carver, const Head& head) {
    const Index keys = roundUp(head.t, R);
    keyRows = carver.take(keys * head.width);
    valueRows = carver.take(keys * head.width);
    queryColumns = carver.take(head.width * blockQueries);
    weights = carver.take(blockKeys * blockQueries);
    sums = carver.take(blockQueries * head.width);
  }
};

// The running softmax of W queries, with scores in powers of 2.
struct State {
  Vec maximum = splat(-__builtin_inff()), sum = {};
};

// Turns the scores of W queries from i on into weights 2^(scale · score - maximum), 0 where a query does not see the key, before
// they are divided by their sum. Returns by what the queries' sums so far must be multiplied.
Vec softmax(const Head& head, float* weights, Index i, Index j0, Index keys, State& state) {
  const Vec scale = splat(head.scale * log2e);
  // Keys that all the queries see.
  const Index common = larger(0, smaller(keys, i + 1 - j0));
  Vec most[4] = {splat(-__builtin_inff()), splat(-__builtin_inff()), splat(-__builtin_inff()), splat(-__builtin_inff())};
  Index j = 0;
  for (; j + 4 <= common; j += 4) {
    for (int n = 0; n < 4; n++) most[n] = max(most[n], load(weights + (j + n) * blockQueries));
  }
  for (; j < common; j++) most[0] = max(most[0], load(weights + j * blockQueries));
  for (; j < keys; j++) most[0] = max(most[0], where(sees(i, j0 + j), load(weights + j * blockQueries), most[0]));
  const Vec maximum = max(state.maximum, max(max(most[0], most[1]), max(most[2], most[3])) * scale);
  Vec sum = {};
  const VecU random = head.queryRandom(i);
  const auto weigh = [&](Index j) { return exp2(fma(load(weights + j * blockQueries), scale, -maximum)); };
  const auto keep = [&](Index j, Vec weight) {
    sum += weight;
    store(weights + j * blockQueries, head.drops() ? where(head.keeps(random, j0 + j), weight, Vec{}) : weight);
  };
  for (j = 0; j < common; j++) keep(j, weigh(j));
  for (; j < keys; j++) keep(j, where(sees(i, j0 + j), weigh(j), Vec{}));
  const Vec correction = exp2(state.maximum - maximum);
  state = {maximum, fma(state.sum, correction, sum)};
  return correction;
}

void multiplyRowsBy(const Vec factors, float* rows, Index width) {
  for (int i = 0; i < W; i++, rows += width) {
    for (Index x = 0; x < width; x += W) store(rows + x, load(rows + x) * splat(factors[i]));
  }
}

// Up to blockQueries queries from i0 on.
void forwardBlock(const Head& head, const Scratch& scratch, Index i0, const float* query, float* out, float* lse) {
  const Index queries = smaller(blockQueries, head.t - i0);
  const Index keysMost = roundUp(i0 + queries, R);
  State states[blockQueries / W];
  transposeRows(query + i0 * 3 * head.c, 3 * head.c, queries, head.hs, scratch.queryColumns, blockQueries);
  for (Index j0 = 0; j0 < keysMost; j0 += blockKeys) {
    const ForwardBlock block = {i0, queries, j0, smaller(blockKeys, keysMost - j0)};
    block.multiplyQueries(scratch.queryColumns, scratch.keyRows, head.width, head.hs, scratch.weights);
    for (Index q = 0; q < queries; q += W) {
      const Vec correction = softmax(head, scratch.weights + q, i0 + q, j0, block.keysBefore(q + W), states[q / W]);
      if (j0 > 0) multiplyRowsBy(correction, scratch.sums + q * head.width, head.width);
    }
    block.sumOverKeys(scratch.weights, scratch.valueRows, head.width, scratch.sums);
  }
  for (Index q = 0; q < queries; q++) {
    const State& state = states[q / W];
    const float sum = state.sum[q % W];
    const float factor = (head.drops() ? head.dropout.scale : 1.0f) / sum;
    scatterRows(scratch.sums + q * head.width, head.width, 1, head.hs, factor, out + (i0 + q) * head.c, head.c);
    lse[i0 + q] = (state.maximum[q % W] + ::log2f(sum)) / log2e;
  }
}

}  // namespace

bool attentionForward(ThreadPool& pool, const AttentionForwardArguments& p) {
  Carver size = {nullptr};
  Scratch(size, Head(p, 0));
  float* memory = pool.scratch(size_t(size.used * pool.threads()));
  if (memory == nullptr) return false;
  parallelTasks(pool, p.b * p.nHead, [&](Index task, int thread) {
    const Head head(p, task);
    Carver carver = {memory + thread * size.used};
    const Scratch scratch(carver, head);
    const float* query = p.qkv + head.offset(3);
    const Index stride = 3 * p.c, rows = roundUp(p.t, R);
    gatherRows(query + p.c, stride, p.t, rows, head.hs, scratch.keyRows, head.width);
    gatherRows(query + 2 * p.c, stride, p.t, rows, head.hs, scratch.valueRows, head.width);
    for (Index i0 = 0; i0 < p.t; i0 += blockQueries) {
      forwardBlock(head, scratch, i0, query, p.out + head.offset(1), p.lse + task * p.t);
    }
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
