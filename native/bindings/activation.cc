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

}  // namespace lockstep
