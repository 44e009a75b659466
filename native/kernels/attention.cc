// Causal multi-head attention in tiles of queries by keys, with the softmax kept as a running maximum and sum, so that no T x T
// matrix exists (FlashAttention: https://arxiv.org/abs/2205.14135). A task is one head of one sample; what its products use more
// than once is packed once, and a panel of queries is multiplied with those keys only that some query of it sees.
#include <math.h>

#include "dropout.h"
#include "gemm.h"
#include "math.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

constexpr Index R = tileRows;
constexpr Index forwardKeys = 256 / tileColumns * tileColumns;   // keys in a tile of the forward pass, which has R queries
constexpr Index backwardKeys = 64 / tileColumns * tileColumns;   // of the backward pass
constexpr Index backwardQueries = 56 / R * R;

inline Index smaller(Index a, Index b) { return a < b ? a : b; }
inline Index larger(Index a, Index b) { return a > b ? a : b; }
inline Index roundUp(Index a, Index unit) { return (a + unit - 1) / unit * unit; }

// Floats that the packed rows or columns of a matrix take.
inline Index packedRowsSize(Index rows, Index depth) { return roundUp(rows, R) * depth + W; }
inline Index packedColumnsSize(Index columns, Index depth) { return roundUp(columns, tileColumns) * depth; }

// Hands out a block of memory piece by piece, each aligned to 64 bytes; without a block, counts only.
struct Carver {
  float* block;
  Index used = 0;

  float* take(Index floats) {
    float* piece = block == nullptr ? nullptr : block + used;
    used += roundUp(floats, 16);
    return piece;
  }
};

struct ForwardScratch {
  float *keyColumns, *valueColumns, *queryRows, *scores, *weightRows;

  ForwardScratch(Carver& carver, Index t, Index hs) {
    keyColumns = carver.take(packedColumnsSize(t, hs));    // keys are the columns
    valueColumns = carver.take(packedColumnsSize(hs, t));  // channels are
    queryRows = carver.take(packedRowsSize(R, hs));
    scores = carver.take(R * forwardKeys);
    weightRows = carver.take(packedRowsSize(R, forwardKeys));
  }
};

struct BackwardScratch {
  float *keyColumns, *valueColumns;                // transposed: keys are the columns
  float *queryChannels, *keyChannels, *doutChannels;  // channels are the columns
  float *queryRows, *doutRows;
  float *delta, *weights, *dscores, *packed;

  BackwardScratch(Carver& carver, Index t, Index hs) {
    keyColumns = carver.take(packedColumnsSize(t, hs));
    valueColumns = carver.take(packedColumnsSize(t, hs));
    queryChannels = carver.take(packedColumnsSize(hs, t));
    keyChannels = carver.take(packedColumnsSize(hs, t));
    doutChannels = carver.take(packedColumnsSize(hs, t));
    queryRows = carver.take(packedRowsSize(t, hs));
    doutRows = carver.take(packedRowsSize(t, hs));
    delta = carver.take(t);
    weights = carver.take(backwardQueries * backwardKeys);
    dscores = carver.take(backwardQueries * backwardKeys);
    packed = carver.take(packedRowsSize(R, larger(backwardQueries, backwardKeys)));
  }
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
  Head(const Arguments& p, Index task)
      : sample(task / p.nHead), head(task % p.nHead), t(p.t), hs(p.c / p.nHead), c(p.c), dropout(p.dropout) {
    query = p.qkv + sample * t * 3 * c + head * hs;
    key = query + c;
    value = query + 2 * c;
    scale = 1.0f / __builtin_sqrtf(float(hs));
  }

  // Of query i and the keys from j on.
  Vec factors(Index i, Index j) const { return dropoutFactors(dropout, sample, (head * t + i) * t + j); }
};

// The running softmax of one query.
struct RowState {
  float maximum, sum;
};

// Turns the scores of query i for keys j0.. into weights e^(scale · score - maximum): `visible` of them, 0 up to `count`, which is
// rounded up to vectors. Updates the state and returns by how much the row's output so far must be multiplied.
float softmaxRow(const Head& head, float* scores, Index i, Index j0, Index visible, Index count, RowState& state) {
  const Vec scale = splat(head.scale);
  const Index whole = visible / W * W;
  const int rest = int(visible - whole);
  Vec most = splat(-__builtin_inff());
  for (Index j = 0; j < whole; j += W) most = max(most, load(scores + j));
  if (rest > 0) most = firstLanes(max(most, load(scores + whole)), rest, most);
  const float tileMaximum = maxLane(most) * head.scale;
  const float maximum = tileMaximum > state.maximum ? tileMaximum : state.maximum;
  const Vec shift = splat(-maximum);
  Vec sum = {};
  const auto weigh = [&](Index j) { return exp(fma(load(scores + j), scale, shift)); };
  const auto keep = [&](Index j, Vec e) {
    sum += e;
    store(scores + j, head.dropout.keys == nullptr ? e : e * head.factors(i, j0 + j));
  };
  for (Index j = 0; j < whole; j += W) keep(j, weigh(j));
  if (rest > 0) keep(whole, firstLanes(weigh(whole), rest, Vec{}));
  for (Index j = roundUp(visible, W); j < count; j += W) store(scores + j, Vec{});
  const float correction = state.sum == 0 ? 0.0f : ::expf(state.maximum - maximum);
  state = {maximum, state.sum * correction + sumLanes(sum)};
  return correction;
}

void scaleRow(float* row, Index size, float factor) {
  forVectors(size, [&](Index i, int count) { storeAny(row + i, loadAny(row + i, count) * splat(factor), count); });
}

// R queries from i0 on against all keys they see.
void forwardPanel(const Head& head, const ForwardScratch& scratch, Index i0, float* out, float* lse) {
  const Index hs = head.hs, c = head.c;
  const int rows = int(smaller(R, head.t - i0));
  RowState states[R];
  for (int r = 0; r < rows; r++) states[r] = {-__builtin_inff(), 0};
  packRows(head.query + i0 * 3 * c, 3 * c, 1, rows, hs, scratch.queryRows);
  for (Index j0 = 0; j0 < i0 + rows; j0 += forwardKeys) {
    const Index keys = smaller(forwardKeys, i0 + rows - j0);
    multiplyRowPanel({scratch.queryRows, scratch.keyColumns + j0 * hs, tileColumns * hs, hs, rows, keys, scratch.scores,
                      forwardKeys, false});
    for (int r = 0; r < rows; r++) {
      const Index visible = smaller(keys, i0 + r - j0 + 1);
      float* scores = scratch.scores + r * forwardKeys;
      if (visible <= 0) {
        for (Index j = 0; j < keys; j += W) store(scores + j, Vec{});
        continue;
      }
      const float correction = softmaxRow(head, scores, i0 + r, j0, visible, keys, states[r]);
      if (j0 > 0 && correction != 1.0f) scaleRow(out + (i0 + r) * c, hs, correction);
    }
    packRows(scratch.scores, forwardKeys, 1, rows, keys, scratch.weightRows);
    multiplyRowPanel({scratch.weightRows, scratch.valueColumns + j0 * tileColumns, tileColumns * head.t, keys, rows, hs,
                      out + i0 * c, c, j0 > 0});
  }
  for (int r = 0; r < rows; r++) {
    scaleRow(out + (i0 + r) * c, hs, 1.0f / states[r].sum);
    lse[i0 + r] = states[r].maximum + ::logf(states[r].sum);
  }
}

// One head's backward pass: tiles of backwardQueries by backwardKeys, keys in the outer loop.
struct HeadBackward {
  const Head& head;
  const BackwardScratch& scratch;
  const float* dout;  // rows of C
  const float* out;
  const float* lse;
  float* dquery;  // rows of 3C
  float* dkey;
  float* dvalue;

  void run() const {
    pack();
    for (Index i = 0; i < head.t; i++) {
      Vec sum = {};
      forVectors(head.hs, [&](Index x, int count) {
        sum = fma(loadAny(dout + i * head.c + x, count), loadAny(out + i * head.c + x, count), sum);
      });
      scratch.delta[i] = sumLanes(sum);
    }
    for (Index j0 = 0; j0 < head.t; j0 += backwardKeys) {
      for (Index i0 = firstTileOf(j0); i0 < head.t; i0 += backwardQueries) tile(i0, j0);
    }
  }

  // The first tile of queries in which some query sees key j.
  static Index firstTileOf(Index j) { return j / backwardQueries * backwardQueries; }

  void pack() const {
    const Index t = head.t, hs = head.hs, stride = 3 * head.c;
    packColumns(head.key, stride, 1, t, hs, scratch.keyColumns);
    packColumns(head.value, stride, 1, t, hs, scratch.valueColumns);
    packColumns(head.query, 1, stride, hs, t, scratch.queryChannels);
    packColumns(head.key, 1, stride, hs, t, scratch.keyChannels);
    packColumns(dout, 1, head.c, hs, t, scratch.doutChannels);
    packRows(head.query, stride, 1, t, hs, scratch.queryRows);
    packRows(dout, head.c, 1, t, hs, scratch.doutRows);
  }

  void tile(Index i0, Index j0) const {
    const Index t = head.t, hs = head.hs, stride = 3 * head.c, channelPanel = tileColumns * t;
    const Index queries = smaller(backwardQueries, t - i0);
    const Index keysMost = smaller(backwardKeys, t - j0);
    // Keys that some query of the panel from i on sees.
    const auto keysOf = [&](Index i) { return larger(0, smaller(keysMost, i0 + i + R - j0)); };
    for (Index i = 0; i < queries; i += R) {
      const int rows = int(smaller(R, queries - i));
      const Index keys = keysOf(i);
      if (keys == 0) continue;
      float* weights = scratch.weights + i * backwardKeys;
      float* dscores = scratch.dscores + i * backwardKeys;
      const Index columnPanel = tileColumns * hs;
      multiplyRowPanel({scratch.queryRows + (i0 + i) * hs, scratch.keyColumns + j0 * hs, columnPanel, hs, rows, keys, weights,
                        backwardKeys, false});
      multiplyRowPanel({scratch.doutRows + (i0 + i) * hs, scratch.valueColumns + j0 * hs, columnPanel, hs, rows, keys,
                        dscores, backwardKeys, false});
      for (int r = 0; r < rows; r++) {
        const Index visible = larger(0, smaller(keys, i0 + i + r - j0 + 1));
        scoreGradients(i0 + i + r, j0, visible, weights + r * backwardKeys, dscores + r * backwardKeys);
      }
      packRows(dscores, backwardKeys, 1, rows, keys, scratch.packed);
      multiplyRowPanel({scratch.packed, scratch.keyChannels + j0 * tileColumns, channelPanel, keys, rows, hs,
                        dquery + (i0 + i) * stride, stride, j0 > 0});
    }
    for (Index j = 0; j < keysMost; j += R) {
      const int rows = int(smaller(R, keysMost - j));
      Index i = 0;
      while (i < queries && keysOf(i) <= j) i += R;
      if (i >= queries) continue;
      // The first tile that sees any of these keys assigns their gradients.
      const bool accumulate = i0 > firstTileOf(j0 + j);
      const Index depth = queries - i;
      const Index from = i * backwardKeys + j;
      const Index channels = (i0 + i) * tileColumns;
      packRows(scratch.weights + from, 1, backwardKeys, rows, depth, scratch.packed);
      multiplyRowPanel({scratch.packed, scratch.doutChannels + channels, channelPanel, depth, rows, hs,
                        dvalue + (j0 + j) * stride, stride, accumulate});
      packRows(scratch.dscores + from, 1, backwardKeys, rows, depth, scratch.packed);
      multiplyRowPanel({scratch.packed, scratch.queryChannels + channels, channelPanel, depth, rows, hs,
                        dkey + (j0 + j) * stride, stride, accumulate});
    }
  }

  // Turns the scores of query i for keys j0.. into weights (after dropout) and the gradients of the weights into those of the
  // scores: `visible` of them, and 0 for the others of the tile.
  void scoreGradients(Index i, Index j0, Index visible, float* weights, float* dscores) const {
    const Vec scale = splat(head.scale), shift = splat(-lse[i]), delta = splat(scratch.delta[i]);
    for (Index j = 0; j < visible; j += W) {
      const int count = int(smaller(W, visible - j));
      const Vec weight = exp(fma(load(weights + j), scale, shift));
      Vec dweight = load(dscores + j);
      Vec dropped = weight;
      if (head.dropout.keys != nullptr) {
        const Vec factors = head.factors(i, j0 + j);
        dweight *= factors;
        dropped *= factors;
      }
      const Vec dscore = weight * (dweight - delta) * scale;
      store(weights + j, count == W ? dropped : firstLanes(dropped, count, Vec{}));
      store(dscores + j, count == W ? dscore : firstLanes(dscore, count, Vec{}));
    }
    for (Index j = roundUp(visible, W); j < backwardKeys; j += W) {
      store(weights + j, Vec{});
      store(dscores + j, Vec{});
    }
  }
};

static_assert(forwardKeys % W == 0 && backwardKeys % W == 0);

}  // namespace

bool attentionForward(ThreadPool& pool, const AttentionForwardArguments& p) {
  const Index hs = p.c / p.nHead;
  Carver size = {nullptr};
  ForwardScratch(size, p.t, hs);
  float* block = pool.scratch(size_t(size.used * pool.threads()));
  if (block == nullptr) return false;
  parallelTasks(pool, p.b * p.nHead, [&](Index task, int thread) {
    const Head head(p, task);
    Carver carver = {block + thread * size.used};
    const ForwardScratch scratch(carver, p.t, hs);
    packColumns(head.key, 3 * p.c, 1, p.t, hs, scratch.keyColumns);
    packColumns(head.value, 1, 3 * p.c, hs, p.t, scratch.valueColumns);
    float* out = p.out + head.sample * p.t * p.c + head.head * hs;
    for (Index i0 = 0; i0 < p.t; i0 += R) forwardPanel(head, scratch, i0, out, p.lse + task * p.t);
  });
  return true;
}

bool attentionBackward(ThreadPool& pool, const AttentionBackwardArguments& p) {
  const Index hs = p.c / p.nHead;
  Carver size = {nullptr};
  BackwardScratch(size, p.t, hs);
  float* block = pool.scratch(size_t(size.used * pool.threads()));
  if (block == nullptr) return false;
  parallelTasks(pool, p.b * p.nHead, [&](Index task, int thread) {
    const Head head(p, task);
    Carver carver = {block + thread * size.used};
    const BackwardScratch scratch(carver, p.t, hs);
    const Index rows = head.sample * p.t;
    float* dquery = p.dqkv + rows * 3 * p.c + head.head * hs;
    HeadBackward{head,
                 scratch,
                 p.dout + rows * p.c + head.head * hs,
                 p.out + rows * p.c + head.head * hs,
                 p.lse + task * p.t,
                 dquery,
                 dquery + p.c,
                 dquery + 2 * p.c}
        .run();
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
