#include <memory>
#include <new>

#include "../arguments.h"
#include "bindings.h"

namespace lockstep {
namespace {

// b, t, nHead, nKvHead, headSize
template <class P>
void readShape(Arguments& args, P& p) {
  p.b = args.positive("b");
  p.t = args.positive("t");
  p.heads = {args.positive("nHead"), args.positive("nKvHead"), args.positive("headSize")};
  if (args.ok() && p.heads.nHead % p.heads.nKvHead != 0) args.fail("expected nKvHead to divide nHead");
}

Index sizeOfHeads(Index rows, const AttentionHeads& heads) { return sizeOf(rows, heads.nHead, heads.hs); }
Index sizeOfQkv(Index rows, const AttentionHeads& heads) { return sizeOf(rows, heads.nHead + 2 * heads.nKvHead, heads.hs); }

// The parts of rows q|k|v.
struct Parts {
  FloatArray query, key, value;

  Parts(FloatArray qkv, const AttentionHeads& heads)
      : query(qkv), key(qkv.from(heads.c())), value(qkv.from(heads.c() + heads.kvWidth())) {}
};

template <class P>
void readQkv(Arguments& args, P& p) {
  const FloatArray qkv = args.anyFloats("qkv", sizeOfQkv(sizeOf(p.b, p.t), p.heads));
  if (!args.ok()) return;
  const Parts parts(qkv, p.heads);
  p.query = parts.query, p.key = parts.key, p.value = parts.value;
  p.strides = {p.heads.qkvWidth(), p.heads.qkvWidth()};
}

void checkType(Arguments& args, const char* name, FloatArray array, FloatArray qkv) {
  if (args.ok() && array.bfloat16 != qkv.bfloat16) args.fail("expected %s of the type of qkv", name);
}

}  // namespace

// attentionForward(engine, b, t, nHead, nKvHead, headSize, out, lse, qkv, starts | null, rate, keys | null)
napi_value attentionForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionForward");
  Engine* engine = args.engine();
  AttentionForwardArguments p = {};
  readShape(args, p);
  const Index rows = sizeOf(p.b, p.t);
  p.out = args.anyFloats("out", sizeOfHeads(rows, p.heads));
  p.lse = args.floats("lse", sizeOf(rows, p.heads.nHead, 2));
  readQkv(args, p);
  checkType(args, "out", p.out, p.query);
  p.starts = args.startsOrNull("starts", p.b, p.t);
  p.dropout = args.dropout(p.b);
  return args.finish(args.ok() && engine->kernels->attentionForward(*engine->pool, p));
}

// attentionBackward(engine, b, t, nHead, nKvHead, headSize, dqkv, dout, out, qkv, lse, starts | null, rate, keys | null)
napi_value attentionBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionBackward");
  Engine* engine = args.engine();
  AttentionBackwardArguments p = {};
  readShape(args, p);
  const Index rows = sizeOf(p.b, p.t);
  const FloatArray dqkv = args.anyFloats("dqkv", sizeOfQkv(rows, p.heads));
  p.dout = args.anyFloats("dout", sizeOfHeads(rows, p.heads));
  p.out = args.anyFloats("out", sizeOfHeads(rows, p.heads));
  readQkv(args, p);
  checkType(args, "dqkv", dqkv, p.query);
  checkType(args, "dout", p.dout, p.query);
  checkType(args, "out", p.out, p.query);
  if (args.ok()) {
    const Parts gradients(dqkv, p.heads);
    p.dquery = gradients.query, p.dkey = gradients.key, p.dvalue = gradients.value;
  }
  p.lse = args.floats("lse", sizeOf(rows, p.heads.nHead, 2));
  p.starts = args.startsOrNull("starts", p.b, p.t);
  p.dropout = args.dropout(p.b);
  return args.finish(args.ok() && engine->kernels->attentionBackward(*engine->pool, p));
}

// attentionDecode(engine, b, t, nHead, nKvHead, headSize, out, qkv, positions, keys, values): of each sequence its position, and its keys and values,
// of as many rows
napi_value attentionDecode(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionDecode");
  Engine* engine = args.engine();
  AttentionDecodeArguments p = {};
  readShape(args, p);
  const Index tokens = sizeOf(p.b, p.t);
  p.out = args.floats("out", sizeOfHeads(tokens, p.heads));
  p.qkv = args.floats("qkv", sizeOfQkv(tokens, p.heads));
  const int32_t* positions = args.ints("positions", p.b);
  const Arguments::FloatsList keys = args.listOfFloats("keys", p.b), values = args.listOfFloats("values", p.b);
  const std::unique_ptr<CachedKeys[]> sequences(new (std::nothrow) CachedKeys[args.ok() ? size_t(p.b) : 0]);
  if (args.ok() && sequences == nullptr) return args.finish(false);
  for (Index i = 0; args.ok() && i < p.b; i++) {
    const Index position = positions[i], width = p.heads.kvWidth(), rows = keys[i].size / width;
    if (keys[i].size != sizeOf(rows, width) || values[i].size != keys[i].size) {
      args.fail("expected keys and values of as many rows of %lld numbers", static_cast<long long>(width));
    } else if (position < 0 || position + p.t > rows) {
      args.fail("%lld tokens from position %lld on do not fit a cache of %lld rows", static_cast<long long>(p.t),
                static_cast<long long>(position), static_cast<long long>(rows));
    }
    sequences[i] = {position, keys[i].data, values[i].data};
  }
  p.sequences = sequences.get();
  return args.finish(args.ok() && engine->kernels->attentionDecode(*engine->pool, p));
}

}  // namespace lockstep
