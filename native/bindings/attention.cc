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

// attentionForward(engine, b, t, c, nHead, out, lse, qkv, rate, keys | null)
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
  p.dropout = args.dropout(p.b);
  return args.finish(args.ok() && engine->kernels->attentionForward(*engine->pool, p));
}

// attentionBackward(engine, b, t, c, nHead, dqkv, dout, out, qkv, lse, rate, keys | null)
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
  p.dropout = args.dropout(p.b);
  return args.finish(args.ok() && engine->kernels->attentionBackward(*engine->pool, p));
}

// attentionDecode(engine, rows, t, c, nHead, position, out, qkv, keys, values), keys and values of `rows` rows
napi_value attentionDecode(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "attentionDecode");
  Engine* engine = args.engine();
  AttentionDecodeArguments p = {};
  const Index rows = args.positive("rows");
  p.t = args.positive("t");
  p.c = args.positive("c");
  p.nHead = args.positive("nHead");
  p.position = args.count("position");
  if (args.ok() && p.c % p.nHead != 0) args.fail("expected nHead to divide the channels");
  if (args.ok() && p.position + p.t > rows) {
    args.fail("%lld tokens from position %lld on do not fit a cache of %lld rows", static_cast<long long>(p.t),
              static_cast<long long>(p.position), static_cast<long long>(rows));
  }
  p.out = args.floats("out", sizeOf(p.t, p.c));
  p.qkv = args.floats("qkv", sizeOf(p.t, p.c, 3));
  p.keys = args.floats("keys", sizeOf(rows, p.c));
  p.values = args.floats("values", sizeOf(rows, p.c));
  return args.finish(args.ok() && engine->kernels->attentionDecode(*engine->pool, p));
}

}  // namespace lockstep
