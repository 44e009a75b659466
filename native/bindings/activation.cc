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
  p.out = args.floats("out", p.size);
  p.inp = args.floats("inp", p.size);
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
  p.out = args.floats("dinp", p.size);
  p.dout = args.floats("dout", p.size);
  p.inp = args.floats("inp", p.size);
  return args.finish(args.ok() && engine->kernels->activationBackward(*engine->pool, p));
}

}  // namespace lockstep
