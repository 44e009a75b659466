// For the thread sanitizer (scripts/sanitizers.sh): the thread pool, and every kernel that shares its work out over it, of one
// instruction set. What they compute is compared elsewhere (test/parity); here it must be the same with one thread and with four.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../native/kernels/kernels.h"

using namespace lockstep;

namespace {

constexpr int threads = 4;
const KernelTable& kernels = scalar::kernelTable;

void expect(bool isTrue, const char* what) {
  if (isTrue) return;
  fprintf(stderr, "poolRaces: expected %s\n", what);
  exit(1);
}

ThreadPool* createPool(int count) {
  const char* error = nullptr;
  ThreadPool* pool = ThreadPool::create(count, kernels.workspaceBytes(), Bf16Unit::widened, &error);
  expect(pool != nullptr, "a pool");
  return pool;
}

// Numbers in (-1, 1), the same for the same seed.
std::vector<float> numbers(Index size, unsigned seed) {
  std::vector<float> values(size);
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = float(seed >> 8) / float(1 << 23) - 1;
  }
  return values;
}

FloatArray floats(std::vector<float>& values) { return {values.data(), false}; }

// Each task runs once, and its plain writes are seen by the caller afterwards.
void everyTaskOnce(ThreadPool& pool, int tasks) {
  std::vector<int> runs(tasks);
  pool.run(tasks, [](void* context, int task, int) { (*static_cast<std::vector<int>*>(context))[task]++; }, &runs);
  for (const int count : runs) expect(count == 1, "every task to run once");
}

struct Layer {
  Index n = 96, ic = 64, oc = 192;
  std::vector<float> inp = numbers(n * ic, 1), weight = numbers(ic * oc, 2), bias = numbers(oc, 3), dout = numbers(n * oc, 4);
};

void linear(ThreadPool& pool, std::vector<float>& results) {
  Layer layer;
  std::vector<float> out(layer.n * layer.oc), saved(out), dinp(layer.n * layer.ic), dweight(layer.weight.size()), dbias(layer.oc);
  LinearForwardArguments forward = {};
  forward.n = layer.n, forward.ic = layer.ic, forward.oc = layer.oc;
  forward.out = floats(out), forward.inp = floats(layer.inp), forward.weight = layer.weight.data(), forward.bias = layer.bias.data();
  forward.activation = Activation::gelu, forward.preActivation = floats(saved);
  expect(kernels.linearForward(pool, forward), "linearForward to have memory");
  LinearBackwardArguments backward = {};
  backward.n = layer.n, backward.ic = layer.ic, backward.oc = layer.oc;
  backward.dinp = floats(dinp), backward.dinpActivation = Activation::none;
  backward.dweight = dweight.data(), backward.dbias = dbias.data();
  backward.dout = floats(layer.dout), backward.inp = floats(layer.inp), backward.weight = layer.weight.data();
  expect(kernels.linearBackward(pool, backward), "linearBackward to have memory");
  for (const auto& part : {out, dinp, dweight, dbias}) results.insert(results.end(), part.begin(), part.end());
}

void attention(ThreadPool& pool, std::vector<float>& results) {
  const Index b = 3, t = 70;
  const AttentionHeads heads = {4, 2, 16};
  const Index c = heads.c(), width = heads.qkvWidth();
  std::vector<float> qkv = numbers(b * t * width, 5), out(b * t * c), lse(2 * b * heads.nHead * t), dout = numbers(out.size(), 6);
  std::vector<float> dqkv(qkv.size());
  const auto part = [](std::vector<float>& rows, Index from) { return floats(rows).from(from); };
  AttentionForwardArguments forward = {};
  forward.b = b, forward.tq = forward.tk = t, forward.heads = heads, forward.strides = {width, width};
  forward.query = floats(qkv), forward.key = part(qkv, c), forward.value = part(qkv, c + heads.kvWidth());
  forward.out = floats(out), forward.lse = lse.data(), forward.dropout = {nullptr, 0, 1};
  expect(kernels.attentionForward(pool, forward), "attentionForward to have memory");
  AttentionBackwardArguments backward = {};
  backward.b = b, backward.tq = backward.tk = t, backward.heads = heads, backward.strides = forward.strides;
  backward.query = forward.query, backward.key = forward.key, backward.value = forward.value;
  backward.dquery = floats(dqkv), backward.dkey = part(dqkv, c), backward.dvalue = part(dqkv, c + heads.kvWidth());
  backward.dout = floats(dout), backward.out = floats(out);
  backward.lse = lse.data(), backward.dropout = {nullptr, 0, 1};
  expect(kernels.attentionBackward(pool, backward), "attentionBackward to have memory");
  for (const auto& part : {out, dqkv}) results.insert(results.end(), part.begin(), part.end());
}

void layerNorm(ThreadPool& pool, std::vector<float>& results) {
  const Index n = 300, c = 64;
  std::vector<float> inp = numbers(n * c, 7), weight = numbers(c, 8), bias = numbers(c, 9), dout = numbers(n * c, 10);
  std::vector<float> out(n * c), mean(n), rstd(n), dinp(n * c), dweight(c), dbias(c);
  expect(kernels.layerNormForward(pool, {n, c, floats(out), mean.data(), rstd.data(), inp.data(), weight.data(), bias.data(), 1e-5f}),
         "layerNormForward to have memory");
  expect(kernels.layerNormBackward(pool, {n, c, false, dinp.data(), dweight.data(), dbias.data(), floats(dout), inp.data(),
                                          weight.data(), mean.data(), rstd.data()}),
         "layerNormBackward to have memory");
  for (const auto& part : {out, dinp, dweight, dbias}) results.insert(results.end(), part.begin(), part.end());
}

void head(ThreadPool& pool, std::vector<float>& results) {
  const Index n = 40, ic = 16, v = 500, rows = 16;
  std::vector<float> inp = numbers(n * ic, 11), weight = numbers(ic * v, 12), losses(n), logits(rows * v), dinp(n * ic), dweight(ic * v);
  std::vector<int32_t> targets(n);
  for (Index i = 0; i < n; i++) targets[i] = int32_t(i * 7 % v);
  LinearCrossEntropyArguments p = {};
  p.n = n, p.ic = ic, p.v = v, p.rows = rows, p.losses = losses.data(), p.logits = logits.data(), p.dinp = floats(dinp);
  p.dweight = dweight.data(), p.inp = floats(inp), p.weight = weight.data(), p.targets = targets.data(), p.scale = 1;
  expect(kernels.linearCrossEntropy(pool, p), "linearCrossEntropy to have memory");
  for (const auto& part : {losses, dinp, dweight}) results.insert(results.end(), part.begin(), part.end());
}

void optimizer(ThreadPool& pool, std::vector<float>& results) {
  const Index size = 100'000;
  std::vector<float> params = numbers(size, 13), grads = numbers(size, 14), m(size), v(size);
  const AdamwTensor tensors[] = {{0, 60'000, 0.99f}, {60'000, size, 1}};
  double norm = 0;
  expect(kernels.squaredNorm(pool, grads.data(), size, &norm), "squaredNorm to have memory");
  expect(kernels.adamw(pool, {tensors, 2, size, params.data(), grads.data(), m.data(), v.data(), true, 1, 0.9f, 0.95f, 1e-3f, 1, 1e-8f}),
         "adamw to have memory");
  results.push_back(float(norm));
  for (const auto& part : {params, m, v, grads}) results.insert(results.end(), part.begin(), part.end());
}

void embedding(ThreadPool& pool, std::vector<float>& results) {
  const Index b = 4, t = 32, c = 64, v = 50;
  std::vector<int32_t> tokens(b * t);
  for (Index i = 0; i < b * t; i++) tokens[i] = int32_t(i * 13 % v);
  std::vector<float> wte = numbers(v * c, 15), wpe = numbers(t * c, 16), out(b * t * c), dwte(wte.size()), dwpe(wpe.size());
  expect(kernels.embeddingForward(pool, {b, t, c, 0, out.data(), tokens.data(), wte.data(), wpe.data()}), "embeddingForward to run");
  expect(kernels.embeddingBackward(pool, {b, t, c, dwte.data(), dwpe.data(), out.data(), tokens.data()}), "embeddingBackward to run");
  for (const auto& part : {out, dwte, dwpe}) results.insert(results.end(), part.begin(), part.end());
}

std::vector<float> step(ThreadPool& pool) {
  std::vector<float> results;
  for (const auto layer : {embedding, layerNorm, linear, attention, head, optimizer}) layer(pool, results);
  return results;
}

}  // namespace

int main() {
  // Pools come and go, some without ever having a task.
  for (int i = 0; i < 20; i++) {
    ThreadPool* pool = createPool(threads);
    if (i % 2 == 0) everyTaskOnce(*pool, 50);
    delete pool;
  }
  ThreadPool* one = createPool(1);
  const std::vector<float> expected = step(*one);
  delete one;
  ThreadPool* pool = createPool(threads);
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < 200; i++) everyTaskOnce(*pool, 1 + i % 37);
    expect(step(*pool) == expected, "the same bits with any number of threads");
    // Now the helpers sleep, and must be woken.
    usleep(5'000);
  }
  delete pool;
  puts("poolRaces: no race, and the same bits with 1 thread and 4");
}
