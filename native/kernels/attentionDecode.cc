// Attention of the newest tokens of sequences to their keys and values: including their own, or to those of another sequence.
//
// Positions are divided into blocks whose length depends only on the width of keys. Each block is a task, which computes a maximum, a sum of weights and
// a weighted sum of values for every head. These are merged in order. So keys and values are read from memory row after row, and
// a long sequence or several short ones keep every thread busy. The bits of a sequence do not depend on the others.
#include "attentionDecode.h"

#include "math.h"
#include "parallel.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// From this number of tokens on, tiles are faster.
constexpr Index tiledTokens = 8;

// Approximate size of a block of keys: below it, handing over to another thread costs more than it saves.
constexpr Index blockNumbers = 1 << 16;

// Keys and values are read in order; data this many numbers ahead is prefetched.
constexpr Index fetchAhead = 1536;

// One query of all heads.
struct Query {
  const float* query;  // [C]
  const float* keys;   // [length, NKV HS]
  const float* values;
  Index length;
  AttentionHeads heads;

  Index blockPositions() const { return roundUp(blockNumbers / heads.kvWidth() + 1, W); }
  Index blocks() const { return ceilDiv(length, blockPositions()); }
};

// The result of a block, and its intermediate weights.
struct Part {
  float* maximum;  // [NH]
  float* sum;      // [NH]
  float* values;   // [C]
  float* weights;  // [NH, blockPositions]

  static Index results(const AttentionHeads& heads) { return roundUp(2 * heads.nHead + heads.c(), W); }
  static Index size(const Query& q) { return results(q.heads) + q.heads.nHead * q.blockPositions(); }
  Part(const Query& q, float* memory)
      : maximum(memory), sum(memory + q.heads.nHead), values(sum + q.heads.nHead), weights(memory + results(q.heads)) {}
};

// query · key of one head.
inline float score(const float* query, const float* key, Index hs) {
  Vec sum = {};
  forVectors(hs, [&](Index x, int count) {
    __builtin_prefetch(key + x + fetchAhead);
    sum = fma(loadAny(query + x, count), loadAny(key + x, count), sum);
  });
  return sumLanes(sum);
}

// Turns the scores of one head into weights and returns their sum.
float weigh(float* weights, Index positions, float& maximum) {
  Vec most = splat(-__builtin_inff());
  forVectors(positions, [&](Index j, int count) { most = max(most, firstLanes(loadAny(weights + j, count), count, most)); });
  maximum = maxLane(most);
  Vec sum = {};
  forVectors(positions, [&](Index j, int count) {
    const Vec weight = exp(loadAny(weights + j, count) - splat(maximum));
    storeAny(weights + j, weight, count);
    sum += firstLanes(weight, count, Vec{});
  });
  return sumLanes(sum);
}

// sums += weight · value of one head.
inline void addValue(float weight, const float* value, Index hs, float* sums) {
  const Vec factor = splat(weight);
  forVectors(hs, [&](Index x, int count) {
    __builtin_prefetch(value + x + fetchAhead);
    storeAny(sums + x, fma(factor, loadAny(value + x, count), loadAny(sums + x, count)), count);
  });
}

void attendToBlock(const Query& q, Index first, Index positions, const Part& part) {
  const AttentionHeads& heads = q.heads;
  const Index nHead = heads.nHead, hs = heads.hs, together = heads.perKvHead();
  const float scale = 1.0f / __builtin_sqrtf(float(hs));
  const Index stride = q.blockPositions();
  for (Index j = 0; j < positions; j++) {
    const float* key = q.keys + (first + j) * heads.kvWidth();
    for (Index h = 0; h < nHead; key += hs) {
      for (const Index end = h + together; h < end; h++) part.weights[h * stride + j] = score(q.query + h * hs, key, hs) * scale;
    }
  }
  for (Index h = 0; h < nHead; h++) part.sum[h] = weigh(part.weights + h * stride, positions, part.maximum[h]);
  __builtin_memset(part.values, 0, size_t(heads.c()) * sizeof(float));
  for (Index j = 0; j < positions; j++) {
    const float* value = q.values + (first + j) * heads.kvWidth();
    for (Index h = 0; h < nHead; value += hs) {
      for (const Index end = h + together; h < end; h++) addValue(part.weights[h * stride + j], value, hs, part.values + h * hs);
    }
  }
}

void merge(const Query& q, float* memory, float* out) {
  const Index blocks = q.blocks();
  const auto partOf = [&](Index block) { return Part(q, memory + block * Part::size(q)); };
  const Index hs = q.heads.hs;
  for (Index h = 0, x = 0; h < q.heads.nHead; h++, x += hs) {
    float maximum = -__builtin_inff();
    for (Index block = 0; block < blocks; block++) {
      const float other = partOf(block).maximum[h];
      maximum = other > maximum ? other : maximum;
    }
    float total = 0;
    for (Index block = 0; block < blocks; block++) {
      const Part part = partOf(block);
      const float factor = exp(splat(part.maximum[h] - maximum))[0];
      total += factor * part.sum[h];
      forVectors(hs, [&](Index i, int count) {
        const Vec before = block == 0 ? Vec{} : loadAny(out + x + i, count);
        storeAny(out + x + i, fma(splat(factor), loadAny(part.values + x + i, count), before), count);
      });
    }
    const Vec factor = splat(1.0f / total);
    forVectors(hs, [&](Index i, int count) { storeAny(out + x + i, loadAny(out + x + i, count) * factor, count); });
  }
}

// Every token of every sequence is a query. Every block of the positions that it sees is a task.
struct Queries {
  const AttentionDecodeArguments& p;

  Index count() const { return p.b * p.t; }
  Query operator[](Index i) const {
    const CachedKeys& cache = p.sequences[i / p.t];
    if (p.q != nullptr) return {p.q + i * p.heads.c(), cache.keys, cache.values, cache.position, p.heads};
    return {p.qkv + i * p.heads.qkvWidth(), cache.keys, cache.values, cache.position + i % p.t + 1, p.heads};
  }
  Index blocks() const {
    Index sum = 0;
    for (Index i = 0; i < count(); i++) sum += (*this)[i].blocks();
    return sum;
  }
};

bool attend(ThreadPool& pool, const Queries& queries, float* out) {
  const Index blocks = queries.blocks(), partSize = Part::size(queries[0]);
  float* memory = pool.scratch(size_t(blocks * partSize));
  if (memory == nullptr) return false;
  parallelTasks(pool, blocks, [&](Index task, int) {
    Index query = 0, block = task;
    for (; block >= queries[query].blocks(); query++) block -= queries[query].blocks();
    const Query q = queries[query];
    const Index first = block * q.blockPositions();
    attendToBlock(q, first, smaller(q.blockPositions(), q.length - first), Part(q, memory + task * partSize));
  });
  for (Index i = 0; i < queries.count(); i++) {
    const Query q = queries[i];
    merge(q, memory, out + i * q.heads.c());
    memory += q.blocks() * partSize;
  }
  return true;
}

}  // namespace

bool attentionDecode(ThreadPool& pool, const AttentionDecodeArguments& p) {
  if (p.q != nullptr) return attend(pool, {p}, p.out);
  const Index width = p.heads.kvWidth();
  for (Index i = 0; i < p.b * p.t; i++) {
    const CachedKeys& cache = p.sequences[i / p.t];
    const Index row = (cache.position + i % p.t) * width;
    const float* key = p.qkv + i * p.heads.qkvWidth() + p.heads.c();
    __builtin_memcpy(cache.keys + row, key, size_t(width) * sizeof(float));
    __builtin_memcpy(cache.values + row, key + width, size_t(width) * sizeof(float));
  }
  if (p.t < tiledTokens) return attend(pool, {p}, p.out);
  for (Index sequence = 0; sequence < p.b; sequence++) {
    if (!attendInTiles(pool, p, sequence)) return false;
  }
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
