#include <memory>
#include <new>

#include "../arguments.h"
#include "bindings.h"

namespace lockstep {
namespace {

// nHead, nKvHead, headSize
AttentionHeads readHeads(Arguments& args) {
  const AttentionHeads heads = {args.positive("nHead"), args.positive("nKvHead"), args.positive("headSize")};
  if (args.ok() && heads.nHead % heads.nKvHead != 0) args.fail("expected nKvHead to divide nHead");
  return heads;
}

// b, tq, tk, nHead, nKvHead, headSize
template <class P>
void readShape(Arguments& args, P& p) {
  p.b = args.positive("b");
  p.tq = args.positive("tq");
  p.tk = args.positive("tk");
  p.heads = readHeads(args);
}

Index sizeOfHeads(Index rows, const AttentionHeads& heads) { return sizeOf(rows, heads.nHead, heads.hs); }
Index sizeOfQkv(Index rows, const AttentionHeads& heads) { return sizeOf(rows, heads.nHead + 2 * heads.nKvHead, heads.hs); }

// The parts of rows q|k|v, or of rows q and rows k|v.
struct Parts {
  FloatArray query, key, value;
  AttentionStrides strides;
};

// kv | null, q: without kv, rows q|k|v.
template <class P>
Parts readParts(Arguments& args, const P& p, const char* kvName, const char* qName) {
  const AttentionHeads& heads = p.heads;
  const FloatArray kv = args.anyFloatsOrNull(kvName, sizeOf(sizeOf(p.b, p.tk), 2 * heads.nKvHead, heads.hs));
  const Index rows = sizeOf(p.b, p.tq);
  const FloatArray q = args.anyFloats(qName, kv.data == nullptr ? sizeOfQkv(rows, heads) : sizeOfHeads(rows, heads));
  if (!args.ok()) return {};
  if (kv.data != nullptr) {
    if (kv.bfloat16 != q.bfloat16) args.fail("expected %s of the type of %s", kvName, qName);
    return {q, kv, kv.from(heads.kvWidth()), {heads.c(), 2 * heads.kvWidth()}};
  }
  if (p.tq != p.tk) args.fail("expected as many keys as queries in %s", qName);
  return {q, q.from(heads.c()), q.from(heads.c() + heads.kvWidth()), {heads.qkvWidth(), heads.qkvWidth()}};
}

template <class P>
void readOperands(Arguments& args, P& p) {
  const Parts parts = readParts(args, p, "kv", "q");
  p.query = parts.query, p.key = parts.key, p.value = parts.value, p.strides = parts.strides;
}

void checkType(Arguments& args, const char* name, FloatArray array, FloatArray query) {
  if (args.ok() && array.bfloat16 != query.bfloat16) args.fail("expected %s of the type of the queries", name);
}

}  // namespace

// attentionForward(engine, b, tq, tk, nHead, nKvHead, headSize, out, lse, kv | null, q, starts | null, ends | null, rate, keys | null):
// without kv, q is q|k|v
napi_value attentionForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionForward");
  Engine* engine = args.engine();
  AttentionForwardArguments p = {};
  readShape(args, p);
  const Index rows = sizeOf(p.b, p.tq);
  p.out = args.anyFloats("out", sizeOfHeads(rows, p.heads));
  p.lse = args.floats("lse", sizeOf(rows, p.heads.nHead, 2));
  readOperands(args, p);
  checkType(args, "out", p.out, p.query);
  p.ranges = args.keyRanges(p.b, p.tq, p.tk);
  p.dropout = args.dropout(p.b);
  return args.finish(args.ok() && engine->kernels->attentionForward(*engine->pool, p));
}

// attentionBackward(engine, b, tq, tk, nHead, nKvHead, headSize, dkv | null, dq, dout, out, kv | null, q, lse, starts | null, ends | null,
// rate, keys | null)
napi_value attentionBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionBackward");
  Engine* engine = args.engine();
  AttentionBackwardArguments p = {};
  readShape(args, p);
  const Index rows = sizeOf(p.b, p.tq);
  const Parts gradients = readParts(args, p, "dkv", "dq");
  p.dquery = gradients.query, p.dkey = gradients.key, p.dvalue = gradients.value;
  p.dout = args.anyFloats("dout", sizeOfHeads(rows, p.heads));
  p.out = args.anyFloats("out", sizeOfHeads(rows, p.heads));
  readOperands(args, p);
  if (args.ok() && p.strides.query != gradients.strides.query) args.fail("expected gradients in tensors like those of the operands");
  checkType(args, "dq", p.dquery, p.query);
  checkType(args, "dout", p.dout, p.query);
  checkType(args, "out", p.out, p.query);
  p.lse = args.floats("lse", sizeOf(rows, p.heads.nHead, 2));
  p.ranges = args.keyRanges(p.b, p.tq, p.tk);
  p.dropout = args.dropout(p.b);
  return args.finish(args.ok() && engine->kernels->attentionBackward(*engine->pool, p));
}

// attentionDecode(engine, b, t, nHead, nKvHead, headSize, out, qkv | null, q | null, positions, keys, values): of each sequence its position, and
// its keys and values, of as many rows
napi_value attentionDecode(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionDecode");
  Engine* engine = args.engine();
  AttentionDecodeArguments p = {};
  p.b = args.positive("b");
  p.t = args.positive("t");
  p.heads = readHeads(args);
  const Index tokens = sizeOf(p.b, p.t);
  p.out = args.floats("out", sizeOfHeads(tokens, p.heads));
  p.qkv = args.floatsOrNull("qkv", sizeOfQkv(tokens, p.heads));
  p.q = args.floatsOrNull("q", sizeOfHeads(tokens, p.heads));
  if (args.ok() && (p.qkv == nullptr) == (p.q == nullptr)) args.fail("expected qkv or q");
  const int32_t* positions = args.ints("positions", p.b);
  const Arguments::FloatsList keys = args.listOfFloats("keys", p.b), values = args.listOfFloats("values", p.b);
  const std::unique_ptr<CachedKeys[]> sequences(new (std::nothrow) CachedKeys[args.ok() ? size_t(p.b) : 0]);
  if (args.ok() && sequences == nullptr) return args.finish(false);
  for (Index i = 0; args.ok() && i < p.b; i++) {
    const Index position = positions[i], width = p.heads.kvWidth(), rows = keys[i].size / width;
    if (keys[i].size != sizeOf(rows, width) || values[i].size != keys[i].size) {
      args.fail("expected keys and values of as many rows of %lld numbers", static_cast<long long>(width));
    } else if (p.q != nullptr ? position < 1 || position > rows : position < 0 || position + p.t > rows) {
      args.fail("%lld tokens from position %lld on do not fit a cache of %lld rows", static_cast<long long>(p.t),
                static_cast<long long>(position), static_cast<long long>(rows));
    }
    sequences[i] = {position, keys[i].data, values[i].data};
  }
  p.sequences = sequences.get();
  return args.finish(args.ok() && engine->kernels->attentionDecode(*engine->pool, p));
}

}  // namespace lockstep
