// Causal multi-head attention in tiles of queries by keys, with the softmax kept as a running maximum and sum, so that no T x T
// matrix exists (FlashAttention: https://arxiv.org/abs/2205.14135). A task is one head of one sample.
#include <math.h>

#include "dropout.h"
#include "gemm.h"
#include "math.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index queriesMost = 56;  // whole register tiles of the matrix product on AVX-512, nearly so elsewhere
constexpr Index keysMost = 128;

inline Index smaller(Index a, Index b) { return a < b ? a : b; }

// What a task needs: tiles of scores and of their gradients, and a number or three a query.
struct Tiles {
  float scores[queriesMost * keysMost];
  float dscores[queriesMost * keysMost];
  float maximum[queriesMost];
  float sum[queriesMost];
};

// One head of one sample.
struct Head {
  Index sample, head, t, hs, c;
  const float* query;  // rows of 3C
  const float* key;
  const float* value;
  float scale;
  const DropoutArguments& dropout;

  template <class Arguments>
  Head(const Arguments& p, int task)
      : sample(task / p.nHead), head(task % p.nHead), t(p.t), hs(p.c / p.nHead), c(p.c), dropout(p.dropout) {
    query = p.qkv + sample * t * 3 * c + head * hs;
    key = query + c;
    value = query + 2 * c;
    scale = 1.0f / __builtin_sqrtf(float(hs));
  }

  Vec factors(Index i, Index j) const { return dropoutFactors(dropout, sample, (head * t + i) * t + j); }
};

// Turns a row of scores (keys j0.., `valid` of `count` visible to query i) into weights e^(score - maximum), updates the
// running maximum and sum, and returns by how much the row's output so far must be multiplied.
float softmaxRow(const Head& head, float* scores, Index i, Index j0, Index valid, Index count, float& maximum, float& sum) {
  if (valid <= 0) {
    __builtin_memset(scores, 0, size_t(count) * sizeof(float));
    return 1.0f;
  }
  float most = maximum;
  {
    Index j = 0;
    if (valid >= W) {
      Vec v = load(scores);
      for (j = W; j + W <= valid; j += W) v = max(v, load(scores + j));
      const float lane = maxLane(v) * head.scale;
      most = lane > most ? lane : most;
    }
    for (; j < valid; j++) most = scores[j] * head.scale > most ? scores[j] * head.scale : most;
  }
  Vec rowSum = {};
  forVectors(valid, [&](Index j, int part) {
    Vec e = exp(fma(loadAny(scores + j, part), splat(head.scale), splat(-most)));
    if (part < W) {
      for (int lane = part; lane < W; lane++) e[lane] = 0;
    }
    rowSum += e;
    if (head.dropout.keys != nullptr) e *= head.factors(i, j0 + j);
    storeAny(scores + j, e, part);
  });
  if (valid < count) __builtin_memset(scores + valid, 0, size_t(count - valid) * sizeof(float));
  const float correction = maximum == most ? 1.0f : ::expf(maximum - most);
  sum = sum * correction + sumLanes(rowSum);
  maximum = most;
  return correction;
}

void scaleRow(float* row, Index size, float factor) {
  forVectors(size, [&](Index i, int count) { storeAny(row + i, loadAny(row + i, count) * splat(factor), count); });
}

}  // namespace

bool attentionForward(ThreadPool& pool, const AttentionForwardArguments& p) {
  const size_t tilesFloats = sizeof(Tiles) / sizeof(float);
  float* scratch = pool.scratch(tilesFloats * size_t(pool.threads()));
  if (scratch == nullptr) return false;
  parallelTasks(pool, p.b * p.nHead, [&](int task, int thread) {
    const Head head(p, task);
    auto& tiles = *reinterpret_cast<Tiles*>(scratch + tilesFloats * size_t(thread));
    float* out = p.out + head.sample * p.t * p.c + head.head * head.hs;
    float* lse = p.lse + Index(task) * p.t;
    const Index stride = 3 * p.c;
    for (Index i0 = 0; i0 < p.t; i0 += queriesMost) {
      const Index queries = smaller(queriesMost, p.t - i0);
      for (Index i = 0; i < queries; i++) tiles.maximum[i] = -__builtin_inff(), tiles.sum[i] = 0;
      for (Index j0 = 0; j0 < i0 + queries; j0 += keysMost) {
        const Index keys = smaller(keysMost, i0 + queries - j0);
        gemmSerial(pool.workspace(thread), {queries, keys, head.hs, head.query + i0 * stride, stride, 1,
                                            head.key + j0 * stride, 1, stride, tiles.scores, keysMost, nullptr, false});
        for (Index i = 0; i < queries; i++) {
          const float correction = softmaxRow(head, tiles.scores + i * keysMost, i0 + i, j0,
                                              smaller(keys, i0 + i - j0 + 1), keys, tiles.maximum[i], tiles.sum[i]);
          if (j0 > 0 && correction != 1.0f) scaleRow(out + (i0 + i) * p.c, head.hs, correction);
        }
        gemmSerial(pool.workspace(thread), {queries, head.hs, keys, tiles.scores, keysMost, 1, head.value + j0 * stride,
                                            stride, 1, out + i0 * p.c, p.c, nullptr, j0 > 0});
      }
      for (Index i = 0; i < queries; i++) {
        scaleRow(out + (i0 + i) * p.c, head.hs, 1.0f / tiles.sum[i]);
        lse[i0 + i] = tiles.maximum[i] + ::logf(tiles.sum[i]);
      }
    }
  });
  return true;
}

bool attentionBackward(ThreadPool& pool, const AttentionBackwardArguments& p) {
  const size_t tilesFloats = sizeof(Tiles) / sizeof(float);
  const size_t threadFloats = tilesFloats + size_t(p.t + 15) / 16 * 16;
  float* scratch = pool.scratch(threadFloats * size_t(pool.threads()));
  if (scratch == nullptr) return false;
  parallelTasks(pool, p.b * p.nHead, [&](int task, int thread) {
    const Head head(p, task);
    const Index hs = head.hs, stride = 3 * p.c;
    auto& tiles = *reinterpret_cast<Tiles*>(scratch + threadFloats * size_t(thread));
    float* delta = scratch + threadFloats * size_t(thread) + tilesFloats;  // [T]: dout · out of each query
    const float* dout = p.dout + head.sample * p.t * p.c + head.head * hs;
    const float* out = p.out + head.sample * p.t * p.c + head.head * hs;
    const float* lse = p.lse + Index(task) * p.t;
    float* dquery = p.dqkv + head.sample * p.t * stride + head.head * hs;
    float* dkey = dquery + p.c;
    float* dvalue = dquery + 2 * p.c;
    void* workspace = pool.workspace(thread);
    for (Index i = 0; i < p.t; i++) {
      Vec sum = {};
      forVectors(hs, [&](Index x, int count) {
        sum = fma(loadAny(dout + i * p.c + x, count), loadAny(out + i * p.c + x, count), sum);
      });
      delta[i] = sumLanes(sum);
    }
    for (Index j0 = 0; j0 < p.t; j0 += keysMost) {
      const Index keysHere = smaller(keysMost, p.t - j0);
      // The first tile that sees key j0 sees, after the first query, ever more keys: those it does not see count as 0.
      for (Index i0 = j0 / queriesMost * queriesMost; i0 < p.t; i0 += queriesMost) {
        const Index queries = smaller(queriesMost, p.t - i0);
        const bool first = i0 == j0 / queriesMost * queriesMost;
        // All keys of the block in its first tile, so that it assigns the gradient of each.
        const Index keys = first ? keysHere : smaller(keysHere, i0 + queries - j0);
        gemmSerial(workspace, {queries, keys, hs, head.query + i0 * stride, stride, 1, head.key + j0 * stride, 1, stride,
                               tiles.scores, keysMost, nullptr, false});
        gemmSerial(workspace, {queries, keys, hs, dout + i0 * p.c, p.c, 1, head.value + j0 * stride, 1, stride,
                               tiles.dscores, keysMost, nullptr, false});
        for (Index i = 0; i < queries; i++) {
          float* scores = tiles.scores + i * keysMost;
          float* dscores = tiles.dscores + i * keysMost;
          Index valid = smaller(keys, i0 + i - j0 + 1);
          if (valid < 0) valid = 0;
          const Vec scale = splat(head.scale), shift = splat(-lse[i0 + i]), rowDelta = splat(delta[i0 + i]);
          forVectors(valid, [&](Index j, int count) {
            const Vec weight = exp(fma(loadAny(scores + j, count), scale, shift));
            Vec dweight = loadAny(dscores + j, count);
            Vec dropped = weight;
            if (head.dropout.keys != nullptr) {
              const Vec factors = head.factors(i0 + i, j0 + j);
              dweight *= factors;
              dropped *= factors;
            }
            storeAny(scores + j, dropped, count);
            storeAny(dscores + j, weight * (dweight - rowDelta) * scale, count);
          });
          if (valid < keys) {
            __builtin_memset(scores + valid, 0, size_t(keys - valid) * sizeof(float));
            __builtin_memset(dscores + valid, 0, size_t(keys - valid) * sizeof(float));
          }
        }
        gemmSerial(workspace, {keys, hs, queries, tiles.scores, 1, keysMost, dout + i0 * p.c, p.c, 1, dvalue + j0 * stride,
                               stride, nullptr, !first});
        gemmSerial(workspace, {keys, hs, queries, tiles.dscores, 1, keysMost, head.query + i0 * stride, stride, 1,
                               dkey + j0 * stride, stride, nullptr, !first});
        gemmSerial(workspace, {queries, hs, keys, tiles.dscores, keysMost, 1, head.key + j0 * stride, stride, 1,
                               dquery + i0 * stride, stride, nullptr, j0 > 0});
      }
    }
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
