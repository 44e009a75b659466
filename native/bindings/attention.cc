#include <memory>
#include <new>

#include "../arguments.h"
#include "bindings.h"

namespace lockstep {
namespace {

// b, t, c, nHead
template <class P>
void readShape(Arguments& args, P& p) {
  p.b = args.positive("b");
  p.t = args.positive("t");
  p.c = args.positive("c");
  p.nHead = args.positive("nHead");
  if (args.ok() && p.c % p.nHead != 0) args.fail("expected nHead to divide the channels");
}

void checkType(Arguments& args, const char* name, FloatArray array, FloatArray qkv) {
  if (args.ok() && array.bfloat16 != qkv.bfloat16) args.fail("expected %s of the type of qkv", name);
}

}  // namespace

// attentionForward(engine, b, t, c, nHead, out, lse, qkv, starts | null, rate, keys | null)
napi_value attentionForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionForward");
  Engine* engine = args.engine();
  AttentionForwardArguments p = {};
  readShape(args, p);
  const Index rows = sizeOf(p.b, p.t);
  p.out = args.anyFloats("out", sizeOf(rows, p.c));
  p.lse = args.floats("lse", sizeOf(rows, p.nHead, 2));
  p.qkv = args.anyFloats("qkv", sizeOf(rows, p.c, 3));
  checkType(args, "out", p.out, p.qkv);
  p.starts = args.startsOrNull("starts", p.b, p.t);
  p.dropout = args.dropout(p.b);
  return args.finish(args.ok() && engine->kernels->attentionForward(*engine->pool, p));
}

// attentionBackward(engine, b, t, c, nHead, dqkv, dout, out, qkv, lse, starts | null, rate, keys | null)
napi_value attentionBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionBackward");
  Engine* engine = args.engine();
  AttentionBackwardArguments p = {};
  readShape(args, p);
  const Index rows = sizeOf(p.b, p.t);
  p.dqkv = args.anyFloats("dqkv", sizeOf(rows, p.c, 3));
  p.dout = args.anyFloats("dout", sizeOf(rows, p.c));
  p.out = args.anyFloats("out", sizeOf(rows, p.c));
  p.qkv = args.anyFloats("qkv", sizeOf(rows, p.c, 3));
  checkType(args, "dqkv", p.dqkv, p.qkv);
  checkType(args, "dout", p.dout, p.qkv);
  checkType(args, "out", p.out, p.qkv);
  p.lse = args.floats("lse", sizeOf(rows, p.nHead, 2));
  p.starts = args.startsOrNull("starts", p.b, p.t);
  p.dropout = args.dropout(p.b);
  return args.finish(args.ok() && engine->kernels->attentionBackward(*engine->pool, p));
}

// attentionDecode(engine, b, t, c, nHead, out, qkv, positions, keys, values): of each sequence its position, and its keys and values,
// of as many rows
napi_value attentionDecode(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionDecode");
  Engine* engine = args.engine();
  AttentionDecodeArguments p = {};
  readShape(args, p);
  const Index tokens = sizeOf(p.b, p.t);
  p.out = args.floats("out", sizeOf(tokens, p.c));
  p.qkv = args.floats("qkv", sizeOf(tokens, p.c, 3));
  const int32_t* positions = args.ints("positions", p.b);
  const Arguments::FloatsList keys = args.listOfFloats("keys", p.b), values = args.listOfFloats("values", p.b);
  const std::unique_ptr<CachedKeys[]> sequences(new (std::nothrow) CachedKeys[args.ok() ? size_t(p.b) : 0]);
  if (args.ok() && sequences == nullptr) return args.finish(false);
  for (Index i = 0; args.ok() && i < p.b; i++) {
    const Index position = positions[i], rows = keys[i].size / p.c;
    if (keys[i].size != sizeOf(rows, p.c) || values[i].size != keys[i].size) {
      args.fail("expected keys and values of as many rows of %lld numbers", static_cast<long long>(p.c));
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
