#include "../arguments.h"
#include "bindings.h"

namespace lockstep {

// activationForward(engine, size, kind, out, inp)
napi_value activationForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "activationForward");
  Engine* engine = args.engine();
  ActivationArguments p = {};
  p.size = args.positive("size");
  p.kind = args.activation("kind");
  if (args.ok() && p.kind == Activation::none) args.fail("expected an activation for kind");
  p.out = args.anyFloats("out", p.size);
  p.inp = args.anyFloats("inp", p.size);
  if (args.ok() && p.out.bfloat16 != p.inp.bfloat16) args.fail("expected out and inp of one type");
  return args.finish(args.ok() && engine->kernels->activationForward(*engine->pool, p));
}

// activationBackward(engine, size, kind, dinp, dout, inp)
napi_value activationBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "activationBackward");
  Engine* engine = args.engine();
  ActivationArguments p = {};
  p.size = args.positive("size");
  p.kind = args.activation("kind");
  if (args.ok() && p.kind == Activation::none) args.fail("expected an activation for kind");
  p.out = args.anyFloats("dinp", p.size);
  p.dout = args.anyFloats("dout", p.size);
  p.inp = args.anyFloats("inp", p.size);
  if (args.ok() && (p.out.bfloat16 != p.inp.bfloat16 || p.dout.bfloat16 != p.inp.bfloat16)) {
    args.fail("expected dinp, dout and inp of one type");
  }
  return args.finish(args.ok() && engine->kernels->activationBackward(*engine->pool, p));
}

// gatedActivationForward(engine, n, inner, kind, out, inp)
napi_value gatedActivationForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "gatedActivationForward");
  Engine* engine = args.engine();
  GatedActivationArguments p = {};
  p.n = args.positive("n");
  p.inner = args.positive("inner");
  p.kind = args.activation("kind");
  if (args.ok() && p.kind == Activation::none) args.fail("expected an activation for kind");
  p.out = args.anyFloats("out", sizeOf(p.n, p.inner));
  p.inp = args.anyFloats("inp", sizeOf(p.n, 2, p.inner));
  if (args.ok() && p.out.bfloat16 != p.inp.bfloat16) args.fail("expected out and inp of one type");
  return args.finish(args.ok() && engine->kernels->gatedActivationForward(*engine->pool, p));
}

// gatedActivationBackward(engine, n, inner, kind, dinp, dout, inp)
napi_value gatedActivationBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "gatedActivationBackward");
  Engine* engine = args.engine();
  GatedActivationArguments p = {};
  p.n = args.positive("n");
  p.inner = args.positive("inner");
  p.kind = args.activation("kind");
  if (args.ok() && p.kind == Activation::none) args.fail("expected an activation for kind");
  p.out = args.anyFloats("dinp", sizeOf(p.n, 2, p.inner));
  p.dout = args.anyFloats("dout", sizeOf(p.n, p.inner));
  p.inp = args.anyFloats("inp", sizeOf(p.n, 2, p.inner));
  if (args.ok() && (p.out.bfloat16 != p.inp.bfloat16 || p.dout.bfloat16 != p.inp.bfloat16)) {
    args.fail("expected dinp, dout and inp of one type");
  }
  return args.finish(args.ok() && engine->kernels->gatedActivationBackward(*engine->pool, p));
}

}  // namespace lockstep
